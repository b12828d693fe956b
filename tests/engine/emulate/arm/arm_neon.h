// In place of the compiler's header, on a CPU that is no Arm: SIMDe's exact emulation of NEON.

#pragma once

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/arm/neon.h>
