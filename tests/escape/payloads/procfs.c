#include "probe.h"

const struct entry procfs[] = {
    {NULL, NULL},
};
