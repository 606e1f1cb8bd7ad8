// What CUDA leaves undefined. The emulator does it in three ways (FAKECU_UB), which
// are asserted here; of a real driver we note what it does, since our guesses
// rest on reports. All in peers: any of it may end a process.

#include <sys/wait.h>

#include <csignal>

#include "tests/fake_cuda/conformance/house.h"
#include "tests/fake_cuda/fake_cuda.h"

namespace zerohop::conformance {
namespace {

using enum cuda::CUresult;

constexpr unsigned kShared = cuda::CU_EVENT_INTERPROCESS | cuda::CU_EVENT_DISABLE_TIMING;

class Undefined : public Conformance {
 protected:
  Undefined() {
    exporter.Do("start");
    importer.Do("start");
    arena = exporter.Do("alloc " + std::to_string(kArenaBytes));
    exporter.Do("fill " + arena + " 0 21 4096");
    there = importer.Do("open " + exporter.Do("export " + arena));
  }

  // What the importer reads after its exporter took the memory away.
  void ExpectLeft(const std::string& what, bool poisoned) {
    // Opening anything makes the emulator notice who has died.
    (void)importer.Ask("open 00");
    const Answer read = importer.Ask("read " + there + " 0 4096");
    ExpectText(Known::kInferred, what + ", the importer", read.died ? "dies" : "lives", "lives");
    if (read.died) return;
    Expect(Known::kInferred, what + ", reading it", read.code, {CUDA_SUCCESS});
    ExpectText(Known::kInferred, what + ", it reads", read.value,
               std::to_string(poisoned ? kFakeCudaFreed : 21));
    Expect(Known::kInferred, what + ", closing it", importer.Ask("close " + there).code, {CUDA_SUCCESS});
  }

  Peer exporter;
  Peer importer;
  std::string arena;
  std::string there;
};

TEST_F(Undefined, FreeUnderAnImporter) {
  const Answer freed = exporter.Ask("free " + arena);
  if (UndefinedPolicy() == "abort") {
    EXPECT_TRUE(freed.died);
    EXPECT_EQ(WTERMSIG(exporter.Wait()), SIGABRT);
    return;
  }
  Expect(Known::kInferred, "free under an importer", freed.code, {CUDA_SUCCESS});
  ExpectLeft("after a free under an importer", UndefinedPolicy() == "poison");
}

TEST_F(Undefined, ExitUnderAnImporter) {
  const int status = exporter.Exit();
  if (UndefinedPolicy() == "abort") {
    EXPECT_TRUE(WIFSIGNALED(status));
    return;
  }
  EXPECT_EQ(status, 0);
  ExpectLeft("after the exporter's exit", UndefinedPolicy() == "poison");
}

TEST_F(Undefined, ExporterKilledUnderAnImporter) {
  exporter.Kill();
  // Nobody's deed, so that `abort` only poisons.
  ExpectLeft("after the exporter was killed", !UndefinedPolicy().empty() && UndefinedPolicy() != "pin");
}

TEST_F(Undefined, ExporterKilledWithCopiesUnderWay) {
  exporter.Do("block");
  exporter.Kill();
  importer.Do("fill " + there + " 8192 5 4096");
  ExpectText(Known::kInferred, "after the exporter was killed at work, the importer reads what it wrote",
             importer.Ask("read " + there + " 8192 4096").value, "5");
}

TEST_F(Conformance, ExporterKilledWhileItsImporterCopies) {
  if (TheSubject().emulated) GTEST_SKIP() << "whether the copies are over before the death is chance";
  constexpr size_t kMuch = size_t{1} << 30;  // twenty times: a second or half of one
  Peer exporter;
  Peer importer;
  exporter.Do("start");
  importer.Do("start");
  const std::string arena = exporter.Do("alloc " + std::to_string(kMuch));
  exporter.Do("fill " + arena + " 0 21 " + std::to_string(kMuch));
  const std::string there = importer.Do("open " + exporter.Do("export " + arena));
  importer.Do("begin_copies " + there + " " + std::to_string(kMuch) + " 20");
  Expect(Known::kInferred, "copies are under way", importer.Ask("query_stream").code, {CUDA_ERROR_NOT_READY});
  exporter.Kill();
  Expect(Known::kInferred, "copies are still under way when their exporter is gone",
         importer.Ask("query_stream").code, {CUDA_ERROR_NOT_READY});
  const Answer read = importer.Ask("end_copies");
  ExpectText(Known::kInferred, "after the exporter was killed under a copy, the importer",
             read.died ? "dies" : "lives", "lives");
  if (read.died) return;
  Expect(Known::kInferred, "a copy whose exporter was killed", read.code, {CUDA_SUCCESS});
  ExpectText(Known::kInferred, "a copy whose exporter was killed reads", read.value, "21");
}

TEST_F(Undefined, EventUsedAfterItsExporterDestroyedIt) {
  const std::string event = exporter.Do("event " + std::to_string(kShared));
  const std::string imported = importer.Do("open_event " + exporter.Do("export_event " + event));
  exporter.Do("block");
  exporter.Do("record " + event);
  exporter.Do("destroy_event " + event);
  const Answer query = importer.Ask("query " + imported);
  if (UndefinedPolicy() == "abort") {
    EXPECT_TRUE(query.died);
    EXPECT_EQ(WTERMSIG(importer.Wait()), SIGABRT);
    return;
  }
  ExpectText(Known::kInferred, "using an event its exporter destroyed crashes", query.died ? "yes" : "no",
             "no");
  if (query.died) return;
  // Poison: it looks complete while the work is not.
  Expect(Known::kInferred, "query of a pending event its exporter destroyed", query.code,
         {UndefinedPolicy() == "poison" ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY});
  exporter.Do("unblock");
}

}  // namespace
}  // namespace zerohop::conformance
