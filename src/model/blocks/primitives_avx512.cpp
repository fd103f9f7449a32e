#define SLUICE_LANES 16
#define SLUICE_TABLE kPrimitivesAvx512
#include "model/blocks/primitives_impl.inc"
