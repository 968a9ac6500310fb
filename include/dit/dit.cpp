// The one file of a program whose others define DIT_EXTERN.

#define DIT_SOURCE
#include "dit/extern.hpp"
