// Events of other processes.

#include "tests/fake_cuda/conformance/house.h"

namespace zerohop::conformance {
namespace {

using enum cuda::CUresult;
using cuda::CUevent;
using cuda::CUipcEventHandle;

constexpr unsigned kShared = cuda::CU_EVENT_INTERPROCESS | cuda::CU_EVENT_DISABLE_TIMING;

// A recorder in another process, with an event that we import.
class ImportedEvent : public Conformance {
 protected:
  ImportedEvent() {
    recorder.Do("start");
    event = recorder.Do("event " + std::to_string(kShared));
    handle = HandleFrom<CUipcEventHandle>(recorder.Do("export_event " + event));
    EXPECT_EQ(driver.cuIpcOpenEventHandle(&ours, handle), CUDA_SUCCESS);
  }
  ~ImportedEvent() override {
    Expect(Known::kInferred, "destroying an imported event", driver.cuEventDestroy_v2(ours), {CUDA_SUCCESS});
  }

  Peer recorder;
  std::string event;
  CUipcEventHandle handle;
  CUevent ours = nullptr;
};

TEST_F(Conformance, PlainEventCannotBeExported) {
  const CUevent plain = MakeEvent(cuda::CU_EVENT_DISABLE_TIMING);
  CUipcEventHandle handle{};
  Expect(Known::kTested, "export of a plain event", driver.cuIpcGetEventHandle(&handle, plain),
         {CUDA_ERROR_INVALID_HANDLE});
  EXPECT_EQ(driver.cuEventDestroy_v2(plain), CUDA_SUCCESS);
}

TEST_F(Conformance, ExporterCannotOpenItsOwnEvent) {
  const CUevent shared = MakeEvent(kShared);
  CUipcEventHandle handle{};
  EXPECT_EQ(driver.cuIpcGetEventHandle(&handle, shared), CUDA_SUCCESS);
  CUevent again = nullptr;
  Expect(Known::kTested, "opening an event in the exporting process",
         driver.cuIpcOpenEventHandle(&again, handle),
         {CUDA_ERROR_INVALID_CONTEXT, CUDA_ERROR_INVALID_HANDLE});
  EXPECT_EQ(driver.cuEventDestroy_v2(shared), CUDA_SUCCESS);
}

TEST_F(Conformance, GarbageIsNoEvent) {
  CUipcEventHandle garbage{};
  CUevent event = nullptr;
  Expect(Known::kInferred, "opening garbage as an event", driver.cuIpcOpenEventHandle(&event, garbage),
         {CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_INVALID_HANDLE, CUDA_ERROR_MAP_FAILED});
}

TEST_F(ImportedEvent, UnrecordedIsComplete) {
  Expect(Known::kDocumented, "query of an imported event, unrecorded", driver.cuEventQuery(ours),
         {CUDA_SUCCESS});
}

TEST_F(ImportedEvent, TellsWhenTheOtherProcessIsDone) {
  recorder.Do("block");
  recorder.Do("record " + event);
  Expect(Known::kDocumented, "query of an imported event, not reached", driver.cuEventQuery(ours),
         {CUDA_ERROR_NOT_READY});
  EXPECT_EQ(driver.cuStreamWaitEvent(stream, ours, cuda::CU_EVENT_WAIT_DEFAULT), CUDA_SUCCESS);
  Expect(Known::kDocumented, "a stream that waits for another process", driver.cuStreamQuery(stream),
         {CUDA_ERROR_NOT_READY});
  recorder.Do("unblock");
  EXPECT_EQ(driver.cuEventSynchronize(ours), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuStreamSynchronize(stream), CUDA_SUCCESS);
}

TEST_F(ImportedEvent, ImporterMayRecordIt) {
  EXPECT_EQ(driver.cuEventRecord(ours, stream), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuStreamSynchronize(stream), CUDA_SUCCESS);
  recorder.Do("synchronize " + event);
  Expect(Known::kDocumented, "query of an event that the importer recorded",
         recorder.Ask("query " + event).code, {CUDA_SUCCESS});
}

TEST_F(ImportedEvent, OfAKilledRecorderIsNeverComplete) {
  recorder.Do("block");
  recorder.Do("record " + event);
  recorder.Kill();
  Expect(Known::kInferred, "query of an event whose recorder was killed", driver.cuEventQuery(ours),
         {CUDA_ERROR_NOT_READY});
}

TEST_F(ImportedEvent, CanBeDestroyedByTheImporterFirst) {
  CUevent second = nullptr;
  EXPECT_EQ(driver.cuIpcOpenEventHandle(&second, handle), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuEventDestroy_v2(second), CUDA_SUCCESS);
  EXPECT_EQ(recorder.Ask("record " + event).code, CUDA_SUCCESS);
  EXPECT_EQ(recorder.Ask("synchronize " + event).code, CUDA_SUCCESS);
}

}  // namespace
}  // namespace zerohop::conformance
