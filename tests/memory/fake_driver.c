/* An NVIDIA driver of files: the functions of NVML and of CUDA that Duologue calls, over a list of cards and a list of
   what processes hold, both named by NVML_FAKE. Signatures: NVML API reference and CUDA Driver API reference.

   NVML_FAKE           one card a line: total_mib used_mib major minor uuid name
   NVML_FAKE.taken     one allocation a line: pid card mib serial (negative: given back); lost with its process */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CARDS 16
#define CONTEXT_MIB 300
#define OK 0

typedef struct { long total, used; int major, minor; char uuid[96], name[96]; } Card;
typedef struct { unsigned pid; unsigned long long used; unsigned instance, part; } Process;

static Card cards[CARDS];
static int current, serial, contexts;

static int look(void) {
    const char *file = getenv("NVML_FAKE");
    FILE *in = file ? fopen(file, "r") : NULL;
    int n = 0;
    if (!in) return -1;
    while (n < CARDS && fscanf(in, "%ld %ld %d %d %95s %95[^\n]", &cards[n].total, &cards[n].used, &cards[n].major,
                               &cards[n].minor, cards[n].uuid, cards[n].name) == 6) n++;
    fclose(in);
    return n;
}

static FILE *taken(const char *mode) {
    char name[512];
    snprintf(name, sizeof name, "%s.taken", getenv("NVML_FAKE"));
    return fopen(name, mode);
}

/* MiB held on a card, by everybody or by one process; the processes, if they are wanted. */
static long held(int card, Process *out, unsigned room, unsigned *count) {
    FILE *in = taken("r");
    long sum = 0, mib;
    int pid, where, number;
    *count = 0;
    while (in && fscanf(in, "%d %d %ld %d", &pid, &where, &mib, &number) == 4) {
        unsigned i = 0;
        if (where != card || (kill(pid, 0) && errno == ESRCH)) continue;
        sum += mib;
        while (i < *count && i < room && out[i].pid != (unsigned)pid) i++;
        if (i == *count && i < room) { out[i].pid = pid; out[i].used = 0; (*count)++; }
        if (i < room) out[i].used += mib * 1048576LL;
    }
    if (in) fclose(in);
    return sum;
}

/* --- NVML --- */
int nvmlInitWithFlags(unsigned flags) { return look() < 0 ? 9 : OK; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return "fake"; }
int nvmlSystemGetDriverVersion(char *out, unsigned size) { snprintf(out, size, "580.12"); return OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { int n = look(); *count = n; return n < 0 ? 9 : OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **out) {
    if ((int)index >= look()) return 2;
    if (!strcmp(cards[index].name, "lost")) return 15;
    *out = (void *)(long)(index + 1);
    return OK;
}
#define CARD (int)((long)handle - 1)
int nvmlDeviceGetName(void *handle, char *out, unsigned size) { snprintf(out, size, "%s", cards[CARD].name); return OK; }
int nvmlDeviceGetUUID(void *handle, char *out, unsigned size) { snprintf(out, size, "%s", cards[CARD].uuid); return OK; }
int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    *major = cards[CARD].major; *minor = cards[CARD].minor; return OK;
}
int nvmlDeviceGetMemoryInfo(void *handle, unsigned long long *out) {
    Process all[64]; unsigned n;
    out[0] = cards[CARD].total * 1048576ULL;
    out[2] = (cards[CARD].used + held(CARD, all, 64, &n)) * 1048576ULL;
    out[1] = out[0] - out[2];
    return OK;
}
int nvmlDeviceGetPciInfo_v3(void *handle, char *out) {
    memset(out, 0, 68);
    snprintf(out + 36, 32, "00000000:%02X:00.0", 23 + CARD);
    return OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, Process *out) {
    Process all[64]; unsigned n, room = *count;
    if (getenv("NVML_FAKE_BLIND")) return 3;
    held(CARD, all, 64, &n);
    *count = n;
    if (room < n) return 7;
    for (unsigned i = 0; i < n; i++) {
        out[i] = all[i];
        if (getenv("NVML_FAKE_SIZELESS")) out[i].used = ~0ULL;
    }
    return OK;
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *handle, unsigned *count, Process *out) { *count = 0; return OK; }

/* --- CUDA --- */
static int note(int card, long mib, int number) {
    FILE *out = taken("a");
    fprintf(out, "%d %d %ld %d\n", getpid(), card, mib, number);
    fclose(out);
    return OK;
}
int cuInit(unsigned flags) { return look() < 0 ? 100 : OK; }
int cuDeviceGet(int *device, int index) { *device = index; return index < look() ? OK : 101; }
int cuDeviceGetByPCIBusId(int *device, const char *text) {
    unsigned bus;
    if (sscanf(text, "%*x:%x", &bus) != 1 || bus < 23 || (int)bus - 23 >= look()) return 101;
    *device = bus - 23;
    return OK;
}
int cuDeviceGetPCIBusId(char *out, int size, int device) { snprintf(out, size, "0000:%02x:00.0", 23 + device); return OK; }
int cuDevicePrimaryCtxRetain(void **context, int device) {
    if (!contexts++) note(device, CONTEXT_MIB, 0);
    current = device;
    *context = &current;
    return OK;
}
int cuDevicePrimaryCtxRelease_v2(int device) { return --contexts ? OK : note(device, -CONTEXT_MIB, 0); }
int cuCtxSetCurrent(void *context) { return OK; }
static long sizes[4096];
int cuMemAlloc_v2(unsigned long long *address, size_t bytes) {
    Process all[64]; unsigned n;
    long mib = bytes / 1048576;
    if (mib > cards[current].total - cards[current].used - held(current, all, 64, &n)) return 2;
    *address = ++serial;
    sizes[serial % 4096] = mib;
    return note(current, mib, serial);
}
int cuMemFree_v2(unsigned long long address) { return note(current, -sizes[address % 4096], (int)address); }
