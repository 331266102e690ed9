/* An NVML without a GPU, for tests: `cc -shared -fPIC -o libnvml.so stub.c`.
 *
 * It is told what to do by the control file beside it (the library's path with
 * `.control` appended), which is read anew on every call; a missing file is an
 * empty one. One `key=value` a line, values are decimal numbers:
 *
 *   gpus=N           number of GPUs (default 1)
 *   power_mw=N       power of every GPU (default 250000). The energy counter
 *                    integrates it from the moment the library was initialised
 *   tick_ms=N        the energy counter is published every N ms from then on
 *                    (default 1)
 *   energy_mj=N      what the energy counter shows instead
 *   limit_mw=N       enforced power limit (default 700000)
 *   throttle=N       reasons for lower clocks, as bits (default 0)
 *   ecc=N            uncorrected ECC errors (default 0)
 *   pids=N           compute processes, with the pids 1000, 1001, … (default 0)
 *   instant_mw=N     instantaneous power (default: power_mw)
 *   events=N         so many events have happened on each GPU; events_G=N on GPU G
 *                    only (default 0). A set sees those after its registration
 *   xid=N            the number of each XID error (default 79)
 *   xid_step=N       each event's number is N above the one before (default 0)
 *   event_type=N     type of the events (default 8, a critical XID error)
 *   event_types=N    types that every GPU supports, as bits (default 11)
 *   lost=N           GPU N answers every call with NVML_ERROR_GPU_IS_LOST
 *   sleep_ms=N       every energy call takes so long
 *   code_F=N         function F returns N; F is one of init, count, handle, uuid,
 *                    name, energy, power, instant (the value's own code), fields,
 *                    utilization, memory, temperature, clock, limit, throttle,
 *                    ecc, processes, event_types, set, register, wait
 *
 * `init` and `shutdown` are written into the log beside it (`.log`), one a line;
 * so are `blocked` (a wait for events that is allowed to take time) and `leaked` (an
 * event set that is not freed when the library is shut down).
 * -DWITHOUT_ENERGY, -DWITHOUT_MEMORY, -DWITHOUT_COUNT, -DWITHOUT_EVENTS (all of
 * them) and -DWITHOUT_WAIT leave symbols out.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

typedef int nvmlReturn_t;
/* A handle is a pointer to its entry here. */
typedef const int *nvmlDevice_t;

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7,
       TIMEOUT = 10, GPU_IS_LOST = 15 };
enum { MAX_GPUS = 16, FIELD_POWER_INSTANT = 186, VALUE_UNSIGNED_INT = 1 };

static const int indices[MAX_GPUS] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
static long long initialised_us;

static long long now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (long long)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static FILE *beside(const char *suffix, const char *mode) {
    Dl_info info;
    char path[4096];
    if (!dladdr((const void *)&initialised_us, &info)) return NULL;
    snprintf(path, sizeof path, "%s%s", info.dli_fname, suffix);
    return fopen(path, mode);
}

static long long control(const char *key, long long otherwise) {
    char line[256], name[200];
    long long value, found = otherwise;
    FILE *file = beside(".control", "r");
    if (!file) return otherwise;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "%199[^=]=%lld", name, &value) == 2 && !strcmp(name, key)) found = value;
    fclose(file);
    return found;
}

static void note(const char *what) {
    FILE *file = beside(".log", "a");
    if (!file) return;
    fprintf(file, "%s\n", what);
    fclose(file);
}

static nvmlReturn_t code(nvmlDevice_t device, const char *function) {
    char key[64];
    if (device && control("lost", -1) == *device) return GPU_IS_LOST;
    snprintf(key, sizeof key, "code_%s", function);
    return (nvmlReturn_t)control(key, SUCCESS);
}

nvmlReturn_t nvmlInit_v2(void) {
    initialised_us = now_us();
    note("init");
    return code(NULL, "init");
}

/* Sets of events; a handle is a pointer to one of them. */
enum { MAX_SETS = 32, XID_CRITICAL = 8, XID_AND_ECC = 11 };
typedef struct {
    int used, watched[MAX_GPUS];
    unsigned long long types;
    /* Those of each GPU that it has delivered, or that were before it. */
    long long delivered[MAX_GPUS];
} *nvmlEventSet_t;
static __typeof__(*(nvmlEventSet_t)0) sets[MAX_SETS];

nvmlReturn_t nvmlShutdown(void) {
    for (int i = 0; i < MAX_SETS; i++)
        if (sets[i].used) note("leaked");
    note("shutdown");
    return SUCCESS;
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned length) {
    snprintf(version, length, "570.00.00");
    return SUCCESS;
}

#ifndef WITHOUT_COUNT
nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count) {
    long long gpus = control("gpus", 1);
    *count = (unsigned)(gpus < MAX_GPUS ? gpus : MAX_GPUS);
    return code(NULL, "count");
}
#endif

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device) {
    if (index >= MAX_GPUS) return INVALID_ARGUMENT;
    *device = &indices[index];
    return code(*device, "handle");
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned length) {
    snprintf(uuid, length, "GPU-00000000-0000-0000-0000-%012d", *device);
    return code(device, "uuid");
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned length) {
    snprintf(name, length, "Stub GPU");
    return code(device, "name");
}

#ifndef WITHOUT_ENERGY
nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t device, unsigned long long *energy) {
    long long ms = control("sleep_ms", 0);
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    if (ms > 0) nanosleep(&pause, NULL);
    long long tick_us = control("tick_ms", 1) * 1000;
    long long ticks = (now_us() - initialised_us) / tick_us;
    long long so_far = control("power_mw", 250000) * (ticks * tick_us / 1000) / 1000;
    *energy = (unsigned long long)control("energy_mj", so_far);
    return code(device, "energy");
}
#endif

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned *power) {
    *power = (unsigned)control("power_mw", 250000);
    return code(device, "power");
}

typedef struct {
    unsigned fieldId, scopeId;
    long long timestamp, latencyUsec;
    int valueType;
    nvmlReturn_t nvmlReturn;
    union { double d; unsigned ui; unsigned long long ull; } value;
} nvmlFieldValue_t;

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t *values) {
    for (int i = 0; i < count; i++) {
        values[i].valueType = VALUE_UNSIGNED_INT;
        values[i].nvmlReturn =
            values[i].fieldId == FIELD_POWER_INSTANT ? code(NULL, "instant") : NOT_SUPPORTED;
        values[i].value.ui = (unsigned)control("instant_mw", control("power_mw", 250000));
    }
    return code(device, "fields");
}

typedef struct { unsigned gpu, memory; } nvmlUtilization_t;

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *rates) {
    rates->gpu = 87;
    rates->memory = 41;
    return code(device, "utilization");
}

#ifndef WITHOUT_MEMORY
typedef struct {
    unsigned version;
    unsigned long long total, reserved, free, used;
} nvmlMemory_v2_t;

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory) {
    if (memory->version != (sizeof *memory | 2u << 24)) return INVALID_ARGUMENT;
    memory->total = 80ull << 30;
    memory->reserved = 1ull << 30;
    memory->used = 12ull << 30;
    memory->free = 67ull << 30;
    return code(device, "memory");
}
#endif

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, int sensor, unsigned *temperature) {
    if (sensor != 0) return INVALID_ARGUMENT;
    *temperature = 54;
    return code(device, "temperature");
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, int domain, unsigned *clock) {
    if (domain != 1 && domain != 2) return INVALID_ARGUMENT;
    *clock = domain == 1 ? 1980 : 2619;
    return code(device, "clock");
}

nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t device, unsigned *limit) {
    *limit = (unsigned)control("limit_mw", 700000);
    return code(device, "limit");
}

nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t device,
                                                       unsigned long long *reasons) {
    *reasons = (unsigned long long)control("throttle", 0);
    return code(device, "throttle");
}

nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, int type, int counter,
                                         unsigned long long *count) {
    if (type != 1 || counter != 0) return INVALID_ARGUMENT;
    *count = (unsigned long long)control("ecc", 0);
    return code(device, "ecc");
}

typedef struct {
    unsigned pid;
    unsigned long long usedGpuMemory;
    unsigned gpuInstanceId, computeInstanceId;
} nvmlProcessInfo_t;

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned *count,
                                                     nvmlProcessInfo_t *processes) {
    unsigned found = (unsigned)control("pids", 0), room = *count;
    *count = found;
    if (code(device, "processes")) return code(device, "processes");
    if (found > room) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < found; i++)
        processes[i] = (nvmlProcessInfo_t){1000 + i, 1u << 30, ~0u, ~0u};
    return SUCCESS;
}

#ifndef WITHOUT_EVENTS
static long long happened(int gpu) {
    char key[32];
    snprintf(key, sizeof key, "events_%d", gpu);
    return control(key, control("events", 0));
}

nvmlReturn_t nvmlDeviceGetSupportedEventTypes(nvmlDevice_t device, unsigned long long *types) {
    *types = (unsigned long long)control("event_types", XID_AND_ECC);
    return code(device, "event_types");
}

nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set) {
    if (code(NULL, "set")) return code(NULL, "set");
    for (int i = 0; i < MAX_SETS; i++) {
        if (sets[i].used) continue;
        memset(&sets[i], 0, sizeof sets[i]);
        sets[i].used = 1;
        *set = &sets[i];
        return SUCCESS;
    }
    return INSUFFICIENT_SIZE;
}

nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t device, unsigned long long types,
                                      nvmlEventSet_t set) {
    if (code(device, "register")) return code(device, "register");
    if (types & ~(unsigned long long)control("event_types", XID_AND_ECC)) return NOT_SUPPORTED;
    set->types = types;
    set->watched[*device] = 1;
    set->delivered[*device] = happened(*device);
    return SUCCESS;
}

nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t set) {
    set->used = 0;
    return SUCCESS;
}

#ifndef WITHOUT_WAIT
typedef struct {
    nvmlDevice_t device;
    unsigned long long eventType, eventData;
    unsigned gpuInstanceId, computeInstanceId;
} nvmlEventData_t;

nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *data, unsigned timeout_ms) {
    unsigned long long type = (unsigned long long)control("event_type", XID_CRITICAL);
    if (timeout_ms > 0) note("blocked");
    if (code(NULL, "wait")) return code(NULL, "wait");
    for (int gpu = 0; gpu < MAX_GPUS; gpu++) {
        if (!set->watched[gpu]) continue;
        if (!(set->types & type) || set->delivered[gpu] >= happened(gpu)) {
            if (control("lost", -1) == gpu) return GPU_IS_LOST;
            continue;
        }
        data->device = &indices[gpu];
        data->eventType = type;
        data->eventData =
            type == XID_CRITICAL
                ? (unsigned long long)(control("xid", 79) + set->delivered[gpu] * control("xid_step", 0))
                : 0;
        data->gpuInstanceId = data->computeInstanceId = ~0u;
        set->delivered[gpu]++;
        return SUCCESS;
    }
    return TIMEOUT;
}
#endif
#endif
