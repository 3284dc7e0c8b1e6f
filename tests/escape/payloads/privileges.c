#include "probe.h"

const struct entry privileges[] = {
    {NULL, NULL},
};
