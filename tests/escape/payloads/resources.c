#include "probe.h"

const struct entry resources[] = {
    {NULL, NULL},
};
