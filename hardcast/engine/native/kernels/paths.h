// Every path there is. A build holds those of its architecture; which of them the machine can run:
// dispatch.cpp.

#pragma once

#include "kernels/kernels.h"

namespace hardcast {

extern const Path kPortable;
extern const Path kAvx2, kAvxVnni, kAvx512Vnni;  // x86-64
extern const Path kNeon;                         // aarch64

}  // namespace hardcast
