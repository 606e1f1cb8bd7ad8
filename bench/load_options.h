#pragma once

// LoadOptions: what one run of load_generator sends, and for how long.

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace zerohop::bench {

struct LoadOptions {
  std::string target = "127.0.0.1:50050";  // HOST:PORT or unix:PATH
  std::string model;                       // model_name of every request
  int channels = 4;                        // connections; one is a single HTTP/2 stream of writes
  bool rotate = false;                     // each request takes the next channel; else each call has its own
  int threads = 1;                         // completion queues; more only steal cores from the server
  int concurrency = 1;                     // closed loop: requests in flight; open loop: the most of them
  double rate = 0;                         // requests/s, Poisson arrivals; 0: closed loop
  int prompts_low = 1;                     // prompts per request, drawn evenly from low..high
  int prompts_high = 1;
  int text_chars = 40;  // length of the one text, where no corpus is given
  std::string corpus;   // file with a text a line
  uint64_t seed = 1;    // order of the corpus, prompts per request, arrivals
  std::chrono::duration<double> warmup{1};
  std::chrono::duration<double> seconds{5};
  std::chrono::duration<double> drain{30};      // after the end, before what is unanswered is cancelled
  std::chrono::duration<double> deadline{0};    // of each request; 0: none
  std::chrono::duration<double> wait_ready{0};  // first wait until an Encode succeeds
  bool verify = false;                          // look into every answer, not only at its status
  std::set<std::string> tolerate;               // codes that do not fail the run, as RESOURCE_EXHAUSTED
  std::vector<pid_t> cpu_of;                    // the server's processes, to report what they use meanwhile
};

// Prints help or what is wrong and exits, or returns checked options.
LoadOptions ParseLoadOptionsOrExit(int argc, char** argv);

}  // namespace zerohop::bench
