#include "probe.h"

const struct entry files[] = {
    {NULL, NULL},
};
