// Says of each text on its input whether it is JSON: a length in 4 bytes, and the text; a
// byte comes back.
#include "host.h"

#include <stdio.h>
#include <stdlib.h>

static ps_status configure(void *p, ps_str config) { return (void)p, (void)config, PS_OK; }
static void new_stream(void *p, void *s) { (void)p, (void)s; }
PS_PLUGIN(char, char, configure, new_stream);

int main(void) {
  char size[4];
  while (fread(size, 1, sizeof size, stdin) == sizeof size) {
    size_t n = ps_read_u32(size);
    char *text = malloc(n ? n : 1);
    const ps_json *value;
    if (fread(text, 1, n, stdin) != n) return 1;
    ps_temp_begin();
    putchar(ps_json_parse((ps_str){text, n}, &value) == PS_OK ? '1' : '0');
    free(text);
  }
  return 0;
}
