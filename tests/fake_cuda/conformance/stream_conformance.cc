// Streams and events within one process.

#include "tests/fake_cuda/conformance/gate.h"
#include "tests/fake_cuda/conformance/house.h"

namespace zerohop::conformance {
namespace {

using enum cuda::CUresult;
using cuda::CUcontext;
using cuda::CUdeviceptr;
using cuda::CUevent;
using cuda::CUstream;

constexpr unsigned kPlain = cuda::CU_EVENT_DISABLE_TIMING;

TEST_F(Conformance, UnrecordedEventIsComplete) {
  const CUevent event = MakeEvent(kPlain);
  Expect(Known::kDocumented, "query of an unrecorded event", driver.cuEventQuery(event), {CUDA_SUCCESS});
  EXPECT_EQ(driver.cuEventSynchronize(event), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuEventDestroy_v2(event), CUDA_SUCCESS);
}

TEST_F(Conformance, EventIsCompleteWhenItsWorkIs) {
  const CUevent event = MakeEvent(kPlain);
  Gate gate;
  gate.Close();
  EXPECT_EQ(driver.cuLaunchHostFunc(stream, Gate::PassThrough, &gate), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuEventRecord(event, stream), CUDA_SUCCESS);
  Expect(Known::kDocumented, "query of an event not reached", driver.cuEventQuery(event),
         {CUDA_ERROR_NOT_READY});
  Expect(Known::kDocumented, "query of a busy stream", driver.cuStreamQuery(stream), {CUDA_ERROR_NOT_READY});
  gate.Open();
  EXPECT_EQ(driver.cuEventSynchronize(event), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuEventQuery(event), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuStreamSynchronize(stream), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuStreamQuery(stream), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuEventDestroy_v2(event), CUDA_SUCCESS);
}

// A second stream, beside the one of the fixture.
class TwoStreams : public Conformance {
 protected:
  TwoStreams() {
    EXPECT_EQ(driver.cuStreamCreateWithPriority(&other, cuda::CU_STREAM_NON_BLOCKING, 0), CUDA_SUCCESS);
  }
  ~TwoStreams() override { EXPECT_EQ(driver.cuStreamDestroy_v2(other), CUDA_SUCCESS); }
  CUstream other = nullptr;
};

TEST_F(TwoStreams, WaitingStreamComesAfterTheRecord) {
  const CUevent event = MakeEvent(kPlain);
  Gate gate;
  gate.Close();
  // Plain, so that the thread sanitizer, too, sees whether the wait orders us with it.
  bool done = false;
  const auto finish = [](void* flag) { *static_cast<bool*>(flag) = true; };
  EXPECT_EQ(driver.cuLaunchHostFunc(stream, Gate::PassThrough, &gate), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuLaunchHostFunc(stream, finish, &done), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuEventRecord(event, stream), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuStreamWaitEvent(other, event, cuda::CU_EVENT_WAIT_DEFAULT), CUDA_SUCCESS);
  // An event that is destroyed still holds up who waits for it already.
  EXPECT_EQ(driver.cuEventDestroy_v2(event), CUDA_SUCCESS);
  Expect(Known::kDocumented, "a stream that waits", driver.cuStreamQuery(other), {CUDA_ERROR_NOT_READY});
  gate.Open();
  EXPECT_EQ(driver.cuStreamSynchronize(other), CUDA_SUCCESS);
  EXPECT_TRUE(done) << "the work before the record";
  EXPECT_EQ(driver.cuStreamSynchronize(stream), CUDA_SUCCESS);
}

TEST_F(TwoStreams, WaitMeansTheRecordBeforeIt) {
  const CUevent event = MakeEvent(kPlain);
  EXPECT_EQ(driver.cuStreamWaitEvent(other, event, cuda::CU_EVENT_WAIT_DEFAULT), CUDA_SUCCESS);
  Gate gate;
  gate.Close();
  EXPECT_EQ(driver.cuLaunchHostFunc(stream, Gate::PassThrough, &gate), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuEventRecord(event, stream), CUDA_SUCCESS);
  // Would not return if the wait meant the later record.
  EXPECT_EQ(driver.cuStreamSynchronize(other), CUDA_SUCCESS);
  gate.Open();
  EXPECT_EQ(driver.cuStreamSynchronize(stream), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuEventDestroy_v2(event), CUDA_SUCCESS);
}

TEST_F(Conformance, HostFunctionMayNotCallCuda) {
  struct Call {
    const CudaDriver& driver;
    cuda::CUresult result = CUDA_SUCCESS;
    CUdeviceptr address = 0;
  } call{driver};
  const auto misuse = [](void* argument) {
    auto& asked = *static_cast<Call*>(argument);
    asked.result = asked.driver.cuMemAlloc_v2(&asked.address, 512);
  };
  EXPECT_EQ(driver.cuLaunchHostFunc(stream, misuse, &call), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuStreamSynchronize(stream), CUDA_SUCCESS);
  Expect(Known::kDocumented, "cuMemAlloc in a host function", call.result, {CUDA_ERROR_NOT_PERMITTED});
}

TEST_F(Conformance, FlagsAreChecked) {
  CUstream made = nullptr;
  Expect(Known::kDocumented, "stream flags that are none", driver.cuStreamCreateWithPriority(&made, 16, 0),
         {CUDA_ERROR_INVALID_VALUE});
  CUevent event = nullptr;
  Expect(Known::kDocumented, "event flags that are none", driver.cuEventCreate(&event, 1024),
         {CUDA_ERROR_INVALID_VALUE});
  Expect(Known::kDocumented, "interprocess event with timing",
         driver.cuEventCreate(&event, cuda::CU_EVENT_INTERPROCESS), {CUDA_ERROR_INVALID_VALUE});
}

TEST_F(Conformance, RecordAcrossContextsIsRefused) {
  if (TheSubject().second_context == nullptr) GTEST_SKIP() << "no way to a second context";
  const CUevent event = MakeEvent(kPlain);
  CUcontext second = nullptr;
  EXPECT_EQ(TheSubject().second_context(&second, 0), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuCtxSetCurrent(second), CUDA_SUCCESS);
  CUstream elsewhere = nullptr;
  EXPECT_EQ(driver.cuStreamCreateWithPriority(&elsewhere, 0, 0), CUDA_SUCCESS);
  Expect(Known::kDocumented, "record in a stream of another context", driver.cuEventRecord(event, elsewhere),
         {CUDA_ERROR_INVALID_HANDLE});
  EXPECT_EQ(driver.cuStreamDestroy_v2(elsewhere), CUDA_SUCCESS);
  if (TheSubject().destroy_context != nullptr) TheSubject().destroy_context(second);
  EXPECT_EQ(driver.cuCtxSetCurrent(context), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuEventDestroy_v2(event), CUDA_SUCCESS);
}

TEST_F(Conformance, DestroyedEventIsRefused) {
  // In a peer: a real driver may crash on it.
  Peer peer;
  peer.Do("start");
  const std::string event = peer.Do("event 2");
  peer.Do("destroy_event " + event);
  const Answer answer = peer.Ask("query " + event);
  ExpectText(Known::kInferred, "using a destroyed event crashes", answer.died ? "yes" : "no", "no");
  if (!answer.died)
    Expect(Known::kInferred, "query of a destroyed event", answer.code, {CUDA_ERROR_INVALID_HANDLE});
}

TEST_F(Conformance, EmulatorRefusesTheNullStreamAndDestroyedOnes) {
  if (!TheSubject().emulated) GTEST_SKIP() << "legal on a real driver, or undefined";
  EXPECT_EQ(driver.cuStreamSynchronize(nullptr), CUDA_ERROR_INVALID_HANDLE);
  CUstream gone = nullptr;
  EXPECT_EQ(driver.cuStreamCreateWithPriority(&gone, 0, 0), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuStreamDestroy_v2(gone), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuStreamQuery(gone), CUDA_ERROR_INVALID_HANDLE);
}

}  // namespace
}  // namespace zerohop::conformance
