/* libcuda.so.1 without a card: as much of the driver API as FFmpeg calls; its device memory is the host's.

   FAKE_CUDA_INIT: what cuInit returns (100 = no device, 803 = driver and kernel module differ).
   FAKE_CUDA_MEMORY: how many pieces of memory can be had at once.
   Freed memory is overwritten, and calls that need a context fail without one, as on a card. */
#include <malloc.h>

#include "fake.h"

enum { SUCCESS = 0, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, INVALID_CONTEXT = 201, NOT_SUPPORTED = 801 };
enum { HOST = 1, DEVICE = 2 };

typedef struct {
    size_t srcXInBytes, srcY;
    unsigned srcMemoryType;
    const void *srcHost;
    CUdeviceptr srcDevice;
    void *srcArray;
    size_t srcPitch, dstXInBytes, dstY;
    unsigned dstMemoryType;
    void *dstHost;
    CUdeviceptr dstDevice;
    void *dstArray;
    size_t dstPitch, WidthInBytes, Height;
} Copy2D;

static int primary; /* its address is the primary context */
static unsigned primary_flags;
static int pieces;
static __thread void *contexts[16];
static __thread int depth;

CUresult cuInit(unsigned flags) { (void)flags; return (CUresult)setting("FAKE_CUDA_INIT", SUCCESS); }
CUresult cuDriverGetVersion(int *version) { *version = 13000; return SUCCESS; }
CUresult cuDeviceGetCount(int *count) { *count = 1; return SUCCESS; }
CUresult cuDeviceGet(int *device, int ordinal) { *device = ordinal; return ordinal ? INVALID_DEVICE : SUCCESS; }
CUresult cuDeviceGetName(char *name, int size, int device) {
    (void)device;
    snprintf(name, (size_t)size, "Fake card");
    return SUCCESS;
}
CUresult cuDeviceComputeCapability(int *major, int *minor, int device) {
    (void)device;
    *major = 8, *minor = 9;
    return SUCCESS;
}
CUresult cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    *value = attribute == 14 ? 512 : 0; /* the alignment of textures, hence of rows */
    return SUCCESS;
}

CUresult cuCtxPushCurrent_v2(void *context) { contexts[depth++] = context; return SUCCESS; }
CUresult cuCtxPopCurrent_v2(void **context) {
    if (!depth) return INVALID_CONTEXT;
    *context = contexts[--depth];
    return SUCCESS;
}
CUresult cuCtxGetCurrent(void **context) { *context = depth ? contexts[depth - 1] : NULL; return SUCCESS; }
CUresult cuCtxGetDevice(int *device) { *device = 0; return depth ? SUCCESS : INVALID_CONTEXT; }
CUresult cuCtxCreate_v2(void **context, unsigned flags, int device) {
    (void)flags, (void)device;
    record("context created");
    return cuCtxPushCurrent_v2(*context = malloc(1));
}
CUresult cuCtxDestroy_v2(void *context) {
    if (depth && contexts[depth - 1] == context) depth--;
    free(context);
    return SUCCESS;
}
CUresult cuDevicePrimaryCtxRetain(void **context, int device) { (void)device; *context = &primary; return SUCCESS; }
CUresult cuDevicePrimaryCtxRelease(int device) { (void)device; return SUCCESS; }
CUresult cuDevicePrimaryCtxSetFlags(int device, unsigned flags) {
    (void)device;
    primary_flags = flags;
    return SUCCESS;
}
CUresult cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) {
    (void)device;
    *flags = primary_flags, *active = 1; /* torch has made it active before, with flags of its own */
    return SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t size) {
    if (!depth || !contexts[depth - 1]) return INVALID_CONTEXT;
    if (__atomic_fetch_add(&pieces, 1, __ATOMIC_SEQ_CST) >= setting("FAKE_CUDA_MEMORY", 1 << 30)) {
        __atomic_fetch_sub(&pieces, 1, __ATOMIC_SEQ_CST);
        return OUT_OF_MEMORY;
    }
    record("device memory of %zu bytes", size);
    *pointer = (CUdeviceptr)(uintptr_t)aligned_alloc(512, align(size, 512));
    return SUCCESS;
}
CUresult cuMemFree_v2(CUdeviceptr pointer) {
    void *memory = (void *)(uintptr_t)pointer;
    memset(memory, 0xDD, malloc_usable_size(memory));
    free(memory);
    __atomic_fetch_sub(&pieces, 1, __ATOMIC_SEQ_CST);
    return SUCCESS;
}
CUresult cuMemcpy2D_v2(const Copy2D *c) {
    if (!depth || !contexts[depth - 1]) return INVALID_CONTEXT;
    const char *from = c->srcMemoryType == HOST ? c->srcHost : (const char *)(uintptr_t)c->srcDevice;
    char *to = c->dstMemoryType == HOST ? c->dstHost : (char *)(uintptr_t)c->dstDevice;
    from += c->srcY * c->srcPitch + c->srcXInBytes, to += c->dstY * c->dstPitch + c->dstXInBytes;
    record("copy from %s to %s", c->srcMemoryType == HOST ? "host" : "device",
           c->dstMemoryType == HOST ? "host" : "device");
    for (size_t row = 0; row < c->Height; row++)
        memcpy(to + row * c->dstPitch, from + row * c->srcPitch, c->WidthInBytes);
    return SUCCESS;
}
CUresult cuMemcpy2DAsync_v2(const Copy2D *copy, void *stream) { (void)stream; return cuMemcpy2D_v2(copy); }
CUresult cuStreamSynchronize(void *stream) { (void)stream; return SUCCESS; }

static const struct { CUresult error; const char *name, *text; } errors[] = {
    {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver / cuda driver combination"},
    {999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};
static size_t find(CUresult error) {
    size_t i = 0;
    while (errors[i].error != error && errors[i].error != 999) i++;
    return i;
}
CUresult cuGetErrorName(CUresult error, const char **name) { *name = errors[find(error)].name; return SUCCESS; }
CUresult cuGetErrorString(CUresult error, const char **text) { *text = errors[find(error)].text; return SUCCESS; }

/* FFmpeg's loader asks for these too and never calls them here. */
#define UNUSED(name) CUresult name(void) { record("unexpected call of " #name); return NOT_SUPPORTED; }
UNUSED(cuCtxSetLimit)
UNUSED(cuDevicePrimaryCtxReset)
UNUSED(cuMemAllocPitch_v2)
UNUSED(cuMemAllocManaged)
UNUSED(cuMemsetD8Async)
UNUSED(cuMemcpy)
UNUSED(cuMemcpyAsync)
UNUSED(cuMemcpyHtoD_v2)
UNUSED(cuMemcpyHtoDAsync_v2)
UNUSED(cuMemcpyDtoH_v2)
UNUSED(cuMemcpyDtoHAsync_v2)
UNUSED(cuMemcpyDtoD_v2)
UNUSED(cuMemcpyDtoDAsync_v2)
UNUSED(cuStreamCreate)
UNUSED(cuStreamQuery)
UNUSED(cuStreamDestroy_v2)
UNUSED(cuStreamAddCallback)
UNUSED(cuStreamWaitEvent)
UNUSED(cuEventCreate)
UNUSED(cuEventDestroy_v2)
UNUSED(cuEventSynchronize)
UNUSED(cuEventQuery)
UNUSED(cuEventRecord)
UNUSED(cuLaunchKernel)
UNUSED(cuLinkCreate)
UNUSED(cuLinkAddData)
UNUSED(cuLinkComplete)
UNUSED(cuLinkDestroy)
UNUSED(cuModuleLoadData)
UNUSED(cuModuleUnload)
UNUSED(cuModuleGetFunction)
UNUSED(cuModuleGetGlobal)
UNUSED(cuTexObjectCreate)
UNUSED(cuTexObjectDestroy)
UNUSED(cuGLGetDevices_v2)
UNUSED(cuGraphicsGLRegisterImage)
UNUSED(cuGraphicsUnregisterResource)
UNUSED(cuGraphicsMapResources)
UNUSED(cuGraphicsUnmapResources)
UNUSED(cuGraphicsSubResourceGetMappedArray)
UNUSED(cuGraphicsResourceGetMappedPointer_v2)
UNUSED(cuDeviceGetPCIBusId)
UNUSED(cuDeviceGetByPCIBusId)
UNUSED(cuArrayCreate_v2)
UNUSED(cuArray3DCreate_v2)
UNUSED(cuArrayDestroy)
UNUSED(cuEGLStreamProducerConnect)
UNUSED(cuEGLStreamProducerDisconnect)
UNUSED(cuEGLStreamConsumerDisconnect)
UNUSED(cuEGLStreamProducerPresentFrame)
UNUSED(cuEGLStreamProducerReturnFrame)
