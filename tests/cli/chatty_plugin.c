// The example plugin, with the banner that libraries like to print when they are loaded.
#include <stdio.h>

#include "plugin_c/example_plugin.c"

__attribute__((constructor)) static void greet(void) { printf("chatty_plugin: 1 device found\n"); }
