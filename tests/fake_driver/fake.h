/* What the three libraries of the fake driver share: settings from the environment, and a record of the calls.

   FAKE_DRIVER_LOG names a file; each call worth counting appends a line to it. */
#ifndef FAKE_H
#define FAKE_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int CUresult;
typedef unsigned long long CUdeviceptr; /* ordinary memory, so that tests can look into it */

static inline long setting(const char *name, long otherwise) {
    const char *value = getenv(name);
    return value ? strtol(value, NULL, 0) : otherwise;
}

__attribute__((format(printf, 1, 2))) static inline void record(const char *format, ...) {
    const char *path = getenv("FAKE_DRIVER_LOG");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file) return;
    va_list arguments;
    va_start(arguments, format);
    vfprintf(file, format, arguments);
    va_end(arguments);
    fputc('\n', file);
    fclose(file);
}

static inline size_t align(size_t value, size_t to) { return (value + to - 1) / to * to; }

#endif
