/* libnvcuvid.so.1 without a card: "decodes" every picture to a pattern that tells its number in coding order.

   FAKE_NVDEC: unset = takes everything, "unsupported" = no profile, "busy" = no memory for a decoder,
   "once" = for one only.
   FAKE_NVDEC_LEAST: the smallest side that it takes.
   The pattern, in 8 bits: Y(x, y) = 16 + (5n + x + 2y) % 200, Cb(x, y) = 16 + (5n + 3x + y) % 200,
   Cr(x, y) = 16 + (5n + x + 3y) % 200; in 10 bits four times that, in the top bits of 16. */
#include "fake.h"

typedef struct {
    int codec, chroma;
    unsigned bits_above_8, reserved1[3];
    unsigned char supported, engines;
    unsigned short output_formats;
    unsigned max_width, max_height, max_macroblocks;
    unsigned short min_width, min_height;
    unsigned reserved3[11];
} Caps;

typedef struct {
    unsigned long width, height, surfaces;
    int codec, chroma;
    unsigned long flags, bits_above_8; /* what follows is not looked at */
} CreateInfo;

typedef struct {
    int width_in_blocks, height_in_blocks, index; /* what follows is not looked at */
} PictureParams;

typedef struct {
    size_t width, height, pitch;
    int bytes;
    int numbers[64], pictures;
    uint8_t *mapped;
} Decoder;

CUresult cuvidGetDecoderCaps(Caps *caps) {
    const char *mode = getenv("FAKE_NVDEC");
    caps->supported = !(mode && !strcmp(mode, "unsupported"));
    caps->output_formats = 3, caps->engines = 1;
    caps->max_width = caps->max_height = 8192, caps->max_macroblocks = 262144;
    caps->min_width = caps->min_height = (unsigned short)setting("FAKE_NVDEC_LEAST", 16);
    return 0;
}

static int made_before;

CUresult cuvidCreateDecoder(Decoder **decoder, const CreateInfo *info) {
    const char *mode = getenv("FAKE_NVDEC");
    if (mode && (!strcmp(mode, "busy") || (!strcmp(mode, "once") && made_before++))) return 2;
    Decoder *made = *decoder = calloc(1, sizeof(Decoder));
    made->width = info->width, made->height = info->height, made->bytes = info->bits_above_8 ? 2 : 1;
    made->pitch = align(info->width * (size_t)made->bytes, 256);
    made->mapped = malloc(made->pitch * (info->height + 1) * 3 / 2);
    record("decoder of %lux%lu with %lu surfaces", info->width, info->height, info->surfaces);
    return 0;
}

CUresult cuvidDestroyDecoder(Decoder *decoder) {
    free(decoder->mapped);
    free(decoder);
    return 0;
}

CUresult cuvidDecodePicture(Decoder *decoder, const PictureParams *params) {
    decoder->numbers[params->index] = decoder->pictures++;
    return 0;
}

static void put(Decoder *decoder, size_t row, size_t column, int value) {
    uint8_t *line = decoder->mapped + row * decoder->pitch;
    if (decoder->bytes == 1)
        line[column] = (uint8_t)value;
    else
        ((uint16_t *)line)[column] = (uint16_t)(4 * value << 6);
}

CUresult cuvidMapVideoFrame64(Decoder *decoder, int index, CUdeviceptr *pointer, unsigned *pitch, void *params) {
    (void)params;
    int n = 5 * decoder->numbers[index];
    for (size_t y = 0; y < decoder->height; y++)
        for (size_t x = 0; x < decoder->width; x++) put(decoder, y, x, 16 + (int)((size_t)n + x + 2 * y) % 200);
    for (size_t y = 0; y < decoder->height / 2; y++)
        for (size_t x = 0; x < decoder->width / 2; x++) {
            put(decoder, decoder->height + y, 2 * x, 16 + (int)((size_t)n + 3 * x + y) % 200);
            put(decoder, decoder->height + y, 2 * x + 1, 16 + (int)((size_t)n + x + 3 * y) % 200);
        }
    *pointer = (CUdeviceptr)(uintptr_t)decoder->mapped, *pitch = (unsigned)decoder->pitch;
    return 0;
}

CUresult cuvidUnmapVideoFrame64(Decoder *decoder, CUdeviceptr pointer) {
    memset((void *)(uintptr_t)pointer, 0xDD, decoder->pitch * decoder->height);
    return 0;
}

/* FFmpeg's loader asks for these too and never calls them here. */
#define UNUSED(name) CUresult name(void) { record("unexpected call of " #name); return 801; }
UNUSED(cuvidGetDecodeStatus)
UNUSED(cuvidReconfigureDecoder)
UNUSED(cuvidCtxLockCreate)
UNUSED(cuvidCtxLockDestroy)
UNUSED(cuvidCtxLock)
UNUSED(cuvidCtxUnlock)
UNUSED(cuvidCreateVideoSource)
UNUSED(cuvidCreateVideoSourceW)
UNUSED(cuvidDestroyVideoSource)
UNUSED(cuvidSetVideoSourceState)
UNUSED(cuvidGetVideoSourceState)
UNUSED(cuvidGetSourceVideoFormat)
UNUSED(cuvidGetSourceAudioFormat)
UNUSED(cuvidCreateVideoParser)
UNUSED(cuvidParseVideoData)
UNUSED(cuvidDestroyVideoParser)
