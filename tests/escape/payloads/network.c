#include "probe.h"

const struct entry network[] = {
    {NULL, NULL},
};
