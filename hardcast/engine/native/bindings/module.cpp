// The extension module hardcast.engine._native.

#include "bindings/bindings.h"

NB_MODULE(_native, module) {
  module.doc() = "Native part of the engine: packed matrices and exact integer kernels.";
  hardcast::bind_kernels(module);
  hardcast::bind_kv(module);
  hardcast::bind_machine(module);
}
