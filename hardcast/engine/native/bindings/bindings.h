// Each bind_*.cpp adds its part to the module; module.cpp calls them.

#pragma once

#include <nanobind/nanobind.h>

namespace hardcast {

void bind_kernels(nanobind::module_& module);
void bind_kv(nanobind::module_& module);
void bind_machine(nanobind::module_& module);

}  // namespace hardcast
