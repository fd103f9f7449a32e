#define SLUICE_LANES 4
#define SLUICE_TABLE kPrimitivesGeneric
#include "model/blocks/primitives_impl.inc"
