/* Does to a script what a player does (mpv's vf_vapoursynth): an endless clip that says nothing of its colour, the
 * script evaluated anew at each seek, a frame from there.
 *
 *     player SCRIPT SEEKS      one line a seek on stdout: size, _Matrix and _MP_IMAGE of its frame
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "VSScript4.h"

#define LENGTH (INT_MAX / 16)

static VSNode *invoke(const VSAPI *api, VSCore *core, const char *function, VSMap *arguments) {
    VSMap *made = api->invoke(api->getPluginByID("com.vapoursynth.std", core), function, arguments);
    VSNode *node = api->mapGetNode(made, "clip", 0, NULL);
    if (!node)
        fprintf(stderr, "%s: %s\n", function, api->mapGetError(made));
    api->freeMap(made);
    api->freeMap(arguments);
    return node;
}

static VSNode *decoded(const VSAPI *api, VSCore *core) {
    VSMap *arguments = api->createMap();
    api->mapSetInt(arguments, "format", pfYUV420P8, maReplace);
    api->mapSetInt(arguments, "width", 64, maReplace);
    api->mapSetInt(arguments, "height", 48, maReplace);
    api->mapSetInt(arguments, "length", LENGTH, maReplace);
    api->mapSetInt(arguments, "keep", 1, maReplace);
    VSNode *blank = invoke(api, core, "BlankClip", arguments);
    arguments = api->createMap();
    api->mapConsumeNode(arguments, "clip", blank, maReplace);
    api->mapSetInt(arguments, "_MP_IMAGE", 4711, maReplace);
    return invoke(api, core, "SetFrameProps", arguments);
}

int main(int argc, char **argv) {
    const VSSCRIPTAPI *scripts = getVSScriptAPI(VSSCRIPT_API_VERSION);
    if (!scripts || argc != 3)
        return fputs("no VSScript (run: vapoursynth config), or not two arguments\n", stderr), 2;
    const VSAPI *api = scripts->getVSAPI(VAPOURSYNTH_API_VERSION);
    for (int seek = 0; seek < atoi(argv[2]); seek++) {
        VSScript *script = scripts->createScript(NULL);
        VSMap *variables = api->createMap();
        api->mapConsumeNode(variables, "video_in", decoded(api, scripts->getCore(script)), maReplace);
        scripts->setVariables(script, variables);
        api->freeMap(variables);
        scripts->evaluateFile(script, argv[1]);
        if (scripts->getError(script))
            return fprintf(stderr, "%s\n", scripts->getError(script)), 1;
        VSNode *output = scripts->getOutputNode(script, 0);
        char error[4096] = "";
        const VSFrame *frame = api->getFrame(seek * 7919 % LENGTH, output, error, sizeof error);
        if (!frame)
            return fprintf(stderr, "%s\n", error), 1;
        const VSMap *props = api->getFramePropertiesRO(frame);
        printf("%dx%d %d %d\n", api->getFrameWidth(frame, 0), api->getFrameHeight(frame, 0),
               (int)api->mapGetInt(props, "_Matrix", 0, NULL), (int)api->mapGetInt(props, "_MP_IMAGE", 0, NULL));
        fflush(stdout);
        api->freeFrame(frame);
        api->freeNode(output);
        scripts->freeScript(script);
    }
    return 0;
}
