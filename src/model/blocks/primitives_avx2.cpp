#define SLUICE_LANES 8
#define SLUICE_TABLE kPrimitivesAvx2
#include "model/blocks/primitives_impl.inc"
