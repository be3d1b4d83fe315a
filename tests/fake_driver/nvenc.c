/* libnvidia-encode.so.1 without a card: "encodes" to H.264 whose every block is raw (I_PCM), so that what the
   encoder was given can be read back code by code. A picture is read from its buffer as late as a real encoder
   might read it: when its packet is fetched.

   FAKE_NVENC_VERSION: the newest API version that the driver knows, 16 * major + minor.
   FAKE_NVENC_OPEN: what opening a session returns (10 = out of memory, 21 = incompatible client key). */
#include "fake.h"

typedef int Status;
enum { OK = 0, INVALID_PARAM = 8, NEED_MORE_INPUT = 17 };
enum { NV12 = 1, YV12 = 0x10, TEN_BIT = 0x10000 };
enum { END_OF_STREAM = 8, PICTURE_IDR = 3 };

/* NVENC's structs, as far as they are used. */
typedef struct { uint8_t bytes[16]; } Guid;
typedef struct { uint32_t version, device_type; void *device; } OpenParams;
typedef struct { uint32_t version, capability; } CapsParam;
typedef struct { uint32_t version; Guid codec, preset; uint32_t width, height; } InitParams;
typedef struct { uint32_t version, width, height, heap, format, reserved; void *buffer; } CreateInput;
typedef struct { uint32_t version, size, heap, reserved; void *buffer; } CreateOutput;
typedef struct { uint32_t version, flags; void *buffer, *data; uint32_t pitch; } LockInput;
typedef struct { uint32_t version, index; void *unused, *registered, *mapped; uint32_t format; } MapInput;
typedef struct {
    uint32_t version, type, width, height, pitch, index;
    void *resource, *registered;
    uint32_t format;
} Register;
typedef struct {
    uint32_t version, width, height, pitch, flags, index;
    uint64_t time, duration;
    void *input, *output;
} Picture;
typedef struct {
    uint32_t version, flags;
    void *output;
    uint32_t *offsets;
    uint32_t index, status, slices, size;
    uint64_t time, duration;
    void *data;
    uint32_t type;
} LockOutput;
typedef struct { uint32_t version, reserved; struct { uint32_t version; Guid profile; uint32_t gop; int32_t interval; } config; } Preset;
typedef struct { uint32_t version, room, sps, pps; void *data; uint32_t *size; } Headers;
typedef struct { uint32_t version, reserved; void *functions[319]; } FunctionList;

typedef struct { uint8_t *data; uint32_t pitch, height, format; int owned; } Input;
typedef struct { Input *input; uint64_t time, duration; uint8_t *data; } Output;
typedef struct { uint32_t width, height; int pictures; int ten_bits; } Session;

static const Guid H264 = {{0x62, 0x27, 0xc8, 0x6b, 0x63, 0x4e, 0xa4, 0x4c, 0xaa, 0x85, 0x1e, 0x50, 0xf3, 0x21, 0xf6, 0xbf}};

/* A bit stream: numbers go in, a NAL unit with its start code and escapes comes out. */
typedef struct { uint8_t *data; size_t size; unsigned bits, count; } Bits;

static void put(Bits *b, unsigned value, int width) {
    while (width--) {
        b->bits = b->bits << 1 | (value >> width & 1);
        if (++b->count == 8) b->data[b->size++] = (uint8_t)b->bits, b->bits = b->count = 0;
    }
}
static void put_ue(Bits *b, unsigned value) {
    int width = 32 - __builtin_clz(value + 1);
    put(b, 0, width - 1);
    put(b, value + 1, width);
}
static size_t finish(Bits *b, int header, uint8_t *to) {
    put(b, 1, 1);
    while (b->count) put(b, 0, 1);
    uint8_t *at = to;
    *at++ = 0, *at++ = 0, *at++ = 0, *at++ = 1, *at++ = (uint8_t)header;
    for (size_t i = 0, zeros = 0; i < b->size; i++) {
        if (zeros >= 2 && b->data[i] <= 3) *at++ = 3, zeros = 0;
        zeros = b->data[i] ? 0 : zeros + 1;
        *at++ = b->data[i];
    }
    return (size_t)(at - to);
}

static uint32_t blocks(uint32_t side) { return (side + 15) / 16; }

static size_t write_headers(const Session *s, uint8_t *to) {
    uint8_t room[64];
    Bits sps = {room, 0, 0, 0};
    put(&sps, s->ten_bits ? 110 : 66, 8), put(&sps, 0, 8), put(&sps, 51, 8), put_ue(&sps, 0);
    if (s->ten_bits) put_ue(&sps, 1), put_ue(&sps, 2), put_ue(&sps, 2), put(&sps, 0, 2); /* 4:2:0, 8 + 2 bits */
    put_ue(&sps, 0), put_ue(&sps, 2), put_ue(&sps, 0), put(&sps, 0, 1); /* shown in the order of coding */
    put_ue(&sps, blocks(s->width) - 1), put_ue(&sps, blocks(s->height) - 1), put(&sps, 3, 2);
    put(&sps, 1, 1); /* cropped */
    put_ue(&sps, 0), put_ue(&sps, (16 * blocks(s->width) - s->width) / 2);
    put_ue(&sps, 0), put_ue(&sps, (16 * blocks(s->height) - s->height) / 2);
    put(&sps, 0, 1);
    size_t size = finish(&sps, 0x67, to);
    Bits pps = {room, 0, 0, 0};
    put_ue(&pps, 0), put_ue(&pps, 0), put(&pps, 0, 2), put_ue(&pps, 0), put_ue(&pps, 0), put_ue(&pps, 0);
    put(&pps, 0, 3), put_ue(&pps, 0), put_ue(&pps, 0), put_ue(&pps, 0), put(&pps, 4, 3); /* deblocking can be off */
    return size + finish(&pps, 0x68, to + size);
}

static unsigned least(unsigned a, unsigned b) { return a < b ? a : b; }

/* The sample at (x, y) of component c: 0 = Y, 1 = Cb, 2 = Cr. */
static unsigned sample(const Input *in, int c, unsigned x, unsigned y) {
    if (in->format == YV12 && c) { /* Y, then Cr, then Cb, in rows of half the pitch */
        const uint8_t *plane = in->data + in->pitch * in->height + (c == 1 ? in->pitch / 2 * (in->height / 2) : 0);
        return plane[y * (in->pitch / 2) + x];
    }
    const uint8_t *row = in->data + in->pitch * (c ? in->height + y : y);
    unsigned column = c ? 2 * x + (unsigned)c - 1 : x;
    return in->format == TEN_BIT ? ((const uint16_t *)row)[column] >> 6 : row[column];
}

static size_t write_picture(Session *s, const Input *in, int number, uint8_t *to) {
    Bits b = {malloc(blocks(s->width) * blocks(s->height) * (size_t)800 + 64), 0, 0, 0};
    put_ue(&b, 0), put_ue(&b, 7), put_ue(&b, 0), put(&b, 0, 4), put_ue(&b, (unsigned)number & 1);
    put(&b, 0, 2), put_ue(&b, 0), put_ue(&b, 1);
    for (unsigned block = 0; block < blocks(s->width) * blocks(s->height); block++) {
        unsigned left = block % blocks(s->width) * 16, top = block / blocks(s->width) * 16;
        put_ue(&b, 25); /* I_PCM */
        while (b.count) put(&b, 0, 1);
        for (int c = 0; c < 3; c++) {
            unsigned side = c ? 8 : 16, x0 = c ? left / 2 : left, y0 = c ? top / 2 : top;
            unsigned width = c ? s->width / 2 : s->width, height = c ? s->height / 2 : s->height;
            for (unsigned y = y0; y < y0 + side; y++)
                for (unsigned x = x0; x < x0 + side; x++)
                    put(&b, sample(in, c, least(x, width - 1), least(y, height - 1)), s->ten_bits ? 10 : 8);
        }
    }
    size_t size = finish(&b, 0x65, to);
    free(b.data);
    return size;
}

static Status open_session(const OpenParams *params, Session **session) {
    long refusal = setting("FAKE_NVENC_OPEN", OK);
    if (!params->device) return INVALID_PARAM;
    if (!refusal) *session = calloc(1, sizeof(Session));
    record("encoder session %s", refusal ? "refused" : "opened");
    return (Status)refusal;
}
static Status count_codecs(Session *s, uint32_t *count) { (void)s; *count = 1; return OK; }
static Status list_codecs(Session *s, Guid *guids, uint32_t room, uint32_t *count) {
    (void)s, (void)room;
    guids[0] = H264, *count = 1;
    return OK;
}
static Status capability(Session *s, Guid codec, const CapsParam *param, int *value) {
    (void)s, (void)codec;
    *value = param->capability == 16 || param->capability == 17 ? 4096 : 1; /* the largest width and height */
    return OK;
}
static Status preset(Session *s, Guid codec, Guid name, uint32_t tuning, Preset *preset) {
    (void)s, (void)codec, (void)name, (void)tuning;
    preset->config.interval = 4; /* three B-frames; of these FFmpeg concludes that it has to keep 15 frames back */
    return OK;
}
static Status initialize(Session *s, const InitParams *params) {
    s->width = params->width, s->height = params->height;
    return OK;
}
static Status set_streams(Session *s, void *in, void *out) { (void)s, (void)in, (void)out; return OK; }

static Status create_input(Session *s, CreateInput *params) {
    Input *made = params->buffer = calloc(1, sizeof(Input));
    made->pitch = (uint32_t)align(params->width * (params->format == TEN_BIT ? 2u : 1u), 256);
    made->height = params->height, made->format = params->format, made->owned = 1;
    made->data = malloc((size_t)made->pitch * made->height * 2);
    s->ten_bits = params->format == TEN_BIT;
    return OK;
}
static Status destroy_input(Session *s, Input *input) {
    (void)s;
    free(input->data);
    free(input);
    return OK;
}
static Status lock_input(Session *s, LockInput *params) {
    (void)s;
    Input *input = params->buffer;
    record("frame of the host");
    params->data = input->data, params->pitch = input->pitch;
    return OK;
}
static Status unlock_input(Session *s, Input *input) { (void)s, (void)input; return OK; }

static Status register_resource(Session *s, Register *params) {
    Input *made = params->registered = calloc(1, sizeof(Input));
    made->data = params->resource, made->pitch = params->pitch;
    made->height = params->height, made->format = params->format;
    s->ten_bits = params->format == TEN_BIT;
    record("registered a surface of %ux%u, pitch %u", params->width, params->height, params->pitch);
    return OK;
}
static Status unregister_resource(Session *s, Input *input) { (void)s; free(input); return OK; }
static Status map_input(Session *s, MapInput *params) {
    (void)s;
    params->mapped = params->registered, params->format = ((Input *)params->registered)->format;
    return OK;
}
static Status unmap_input(Session *s, Input *input) { (void)s, (void)input; return OK; }

static Status create_output(Session *s, CreateOutput *params) {
    (void)s;
    params->buffer = calloc(1, sizeof(Output));
    return OK;
}
static Status destroy_output(Session *s, Output *output) {
    (void)s;
    free(output->data);
    free(output);
    return OK;
}
static Status encode(Session *s, const Picture *picture) {
    if (picture->flags & END_OF_STREAM) return OK;
    Output *output = picture->output;
    output->input = picture->input, output->time = picture->time, output->duration = picture->duration;
    if (!output->input->owned) record("frame of the card");
    return ++s->pictures % 4 ? NEED_MORE_INPUT : OK;
}
static Status lock_output(Session *s, LockOutput *params) {
    Output *output = params->output;
    free(output->data);
    output->data = malloc(blocks(s->width) * blocks(s->height) * (size_t)1300 + 256);
    size_t size = write_headers(s, output->data);
    params->index++;
    static int number;
    size += write_picture(s, output->input, number++, output->data + size);
    params->data = output->data, params->size = (uint32_t)size, params->type = PICTURE_IDR;
    params->time = output->time, params->duration = output->duration;
    return OK;
}
static Status unlock_output(Session *s, Output *output) { (void)s, (void)output; return OK; }
static Status headers(Session *s, Headers *params) {
    *params->size = (uint32_t)write_headers(s, params->data);
    return OK;
}
static Status close_session(Session *s) { free(s); return OK; }
static const char *last_error(Session *s) { (void)s; return ""; }

Status NvEncodeAPIGetMaxSupportedVersion(uint32_t *version) {
    *version = (uint32_t)setting("FAKE_NVENC_VERSION", 0xFF);
    return OK;
}
Status NvEncodeAPICreateInstance(FunctionList *list) {
    void **f = list->functions;
    f[1] = count_codecs, f[4] = list_codecs, f[7] = capability, f[11] = initialize;
    f[12] = create_input, f[13] = destroy_input, f[14] = create_output, f[15] = destroy_output;
    f[16] = encode, f[17] = lock_output, f[18] = unlock_output, f[19] = lock_input, f[20] = unlock_input;
    f[22] = headers, f[25] = map_input, f[26] = unmap_input, f[27] = close_session, f[29] = open_session;
    f[30] = register_resource, f[31] = unregister_resource;
    f[37] = last_error, f[38] = set_streams, f[39] = preset;
    return OK;
}
