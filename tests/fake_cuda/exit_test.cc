#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/fake_cuda/emulator_house.h"

namespace zerohop::fake_cuda {
namespace {

// Files of a namespace in /dev/shm.
int FilesOf(const std::string& name_space) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
    if (entry.path().filename().string().rfind("fakecu-" + name_space, 0) == 0) ++count;
  }
  return count;
}

TEST(EmulatorExit, ReportNamesWhatLeaked) {
  const std::string report = testing::TempDir() + "fakecu-report-" + std::to_string(::getpid());
  EmulatedPeer exporter;
  EmulatedPeer importer({"FAKECU_REPORT=" + report});
  const std::string handle = exporter.Do("export " + exporter.Do("alloc 2097152"));
  const std::string there = importer.Do("open " + handle);
  importer.Do("open " + handle);
  importer.Do("event 2");
  const int pid = importer.pid();
  EXPECT_EQ(importer.Exit(), 0);
  std::ifstream lines(report);
  const auto json = nlohmann::json::parse(lines);
  EXPECT_EQ(json["pid"], pid);
  EXPECT_EQ(json["leaks"]["imports"], 1);
  EXPECT_EQ(json["leaks"]["events"], 1);
  EXPECT_EQ(json["leaks"]["allocations"], 0);
  EXPECT_EQ(json["counters"]["opens"], 2);
  EXPECT_EQ(json["counters"]["mappings"], 1);
  std::filesystem::remove(report);
}

TEST(EmulatorExit, LastProcessTakesTheNamespaceWithIt) {
  const std::string name_space = "last-" + std::to_string(::getpid());
  EmulatedPeer first({"FAKECU_NS=" + name_space});
  EmulatedPeer killed({"FAKECU_NS=" + name_space});
  first.Do("alloc 2097152");
  killed.Do("alloc 2097152");
  EXPECT_EQ(FilesOf(name_space), 3);
  killed.Kill();
  EXPECT_EQ(first.Exit(), 0);
  EXPECT_EQ(FilesOf(name_space), 0);
}

}  // namespace
}  // namespace zerohop::fake_cuda
