// For each model: which lines were run, over the whole search: told at the end, so
// that check_model can ask whether every step that is marked SEEN happens. spin's own
// list does not look into d_steps.
c_decl {
  \#include <stdio.h>
  \#include <string.h>
  static const char* files[8];
  static char seen[8][2000];
  static void Saw(const char* file, int line) {
    int f = 0;
    while (files[f] && files[f] != file && strcmp(files[f], file)) ++f;
    files[f] = file;
    seen[f][line] = 1;
  }
  static void __attribute__((destructor)) TellSeen(void) {
    for (int f = 0; f < 8; ++f)
      for (int line = 0; line < 2000; ++line) if (seen[f][line]) printf("seen %s:%d\n", files[f], line);
  }
}
#define SEEN c_code { Saw(__FILE__, __LINE__); }
