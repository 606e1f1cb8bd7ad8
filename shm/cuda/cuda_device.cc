#include "shm/cuda/cuda_device.h"

#include <array>
#include <charconv>
#include <optional>

#include "absl/strings/ascii.h"

namespace zerohop {
namespace {

using cuda::CUdevice;

bool IsInstance(std::string_view name) {
  return name.find(" MIG ") != std::string_view::npos;  // "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
}

std::string TextOf(const cuda::CUuuid& uuid, bool instance) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text = instance ? "MIG-" : "GPU-";
  for (size_t i = 0; i < sizeof uuid.bytes; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    const auto byte = static_cast<unsigned char>(uuid.bytes[i]);
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

// An attribute that a driver does not know is 0, as of a device that lacks what it asks for.
int Attribute(const CudaDriver& driver, cuda::CUdevice_attribute attribute, CUdevice device) {
  int value = 0;
  return driver.cuDeviceGetAttribute(&value, attribute, device) == cuda::CUDA_SUCCESS ? value : 0;
}

absl::StatusOr<CudaDeviceFacts> FactsOf(const CudaDriver& driver, int ordinal, CUdevice device) {
  CudaDeviceFacts facts;
  facts.ordinal = ordinal;
  std::array<char, 256> name{};
  cuda::CUuuid uuid{};
  size_t bytes = 0;
  const std::string doing = "describe device " + std::to_string(ordinal);
  for (cuda::CUresult result :
       {driver.cuDeviceGetName(name.data(), name.size(), device), driver.cuDeviceGetUuid_v2(&uuid, device),
        driver.cuDeviceTotalMem_v2(&bytes, device)}) {
    if (absl::Status ok = driver.Check(result, doing); !ok.ok()) return ok;
  }
  facts.name = name.data();
  facts.uuid = TextOf(uuid, IsInstance(facts.name));
  facts.total_bytes = bytes;
  std::array<char, 32> bus_id{};
  if (driver.cuDeviceGetPCIBusId(bus_id.data(), bus_id.size(), device) == cuda::CUDA_SUCCESS) {
    facts.bus_id = bus_id.data();
  }
  facts.integrated = Attribute(driver, cuda::CU_DEVICE_ATTRIBUTE_INTEGRATED, device) != 0;
  facts.unified_addressing = Attribute(driver, cuda::CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, device) != 0;
  facts.ipc_events = Attribute(driver, cuda::CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED, device) != 0;
  const int mode = Attribute(driver, cuda::CU_DEVICE_ATTRIBUTE_COMPUTE_MODE, device);
  facts.exclusive = mode == cuda::CU_COMPUTEMODE_EXCLUSIVE_PROCESS;
  facts.prohibited = mode == cuda::CU_COMPUTEMODE_PROHIBITED;
  return facts;
}

// Lower case, without what says of which kind it is.
std::string DigitsOf(const std::string& uuid) {
  std::string digits = absl::AsciiStrToLower(uuid);
  if (digits.starts_with("gpu-") || digits.starts_with("mig-")) digits.erase(0, 4);
  return digits;
}

// "1", or what frameworks say: "cuda" and "cuda:1". Nothing for what is no ordinal.
std::optional<int> OrdinalFrom(std::string_view choice) {
  if (choice == "cuda") return 0;
  if (choice.starts_with("cuda:")) choice.remove_prefix(5);
  int ordinal = 0;
  const auto [end, error] = std::from_chars(choice.data(), choice.data() + choice.size(), ordinal);
  if (error != std::errc() || end != choice.data() + choice.size()) return std::nullopt;
  return ordinal;
}

bool IsChosen(const CudaDeviceFacts& facts, const std::string& choice) {
  if (const auto ordinal = OrdinalFrom(choice)) return *ordinal == facts.ordinal;
  return DigitsOf(choice) == DigitsOf(facts.uuid);
}

}  // namespace

absl::StatusOr<CudaDeviceFacts> ChooseCudaDevice(const std::vector<CudaDeviceFacts>& devices,
                                                 const std::string& choice) {
  std::string there_are;
  for (const CudaDeviceFacts& facts : devices) {
    if (IsChosen(facts, choice)) return facts;
    there_are += (there_are.empty() ? "" : ", ") + std::to_string(facts.ordinal) + " (" + facts.uuid + ")";
  }
  return absl::NotFoundError("no device " + choice + "; expected " +
                             (there_are.empty() ? "none: this process sees no device" : there_are));
}

absl::StatusOr<std::vector<CudaDeviceFacts>> ListCudaDevices(const CudaDriver& driver) {
  int count = 0;
  if (absl::Status ok = driver.Check(driver.cuDeviceGetCount(&count), "count the devices"); !ok.ok()) {
    return ok;
  }
  std::vector<CudaDeviceFacts> devices;
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    CUdevice device = 0;
    const std::string doing = "find device " + std::to_string(ordinal);
    if (absl::Status ok = driver.Check(driver.cuDeviceGet(&device, ordinal), doing); !ok.ok()) return ok;
    auto facts = FactsOf(driver, ordinal, device);
    if (!facts.ok()) return facts.status();
    devices.push_back(*std::move(facts));
  }
  return devices;
}

absl::StatusOr<std::shared_ptr<const CudaDevice>> CudaDevice::Open(const std::string& choice) {
  auto driver = CudaDriver::Load();
  if (!driver.ok()) return driver.status();
  if (absl::Status ok = driver->Init(); !ok.ok()) return ok;
  return Open(*driver, choice);
}

absl::StatusOr<std::shared_ptr<const CudaDevice>> CudaDevice::Open(const CudaDriver& driver,
                                                                   const std::string& choice) {
  auto devices = ListCudaDevices(driver);
  if (!devices.ok()) return devices.status();
  auto facts = ChooseCudaDevice(*devices, choice);
  if (!facts.ok()) return facts.status();
  CUdevice device = 0;
  cuda::CUcontext context = nullptr;
  const std::string doing = "use device " + facts->uuid;
  if (absl::Status ok = driver.Check(driver.cuDeviceGet(&device, facts->ordinal), doing); !ok.ok()) return ok;
  if (absl::Status ok = driver.Check(driver.cuDevicePrimaryCtxRetain(&context, device), doing); !ok.ok()) {
    return ok;
  }
  // Not make_shared: only we may make one.
  return std::shared_ptr<const CudaDevice>(new CudaDevice(driver, *std::move(facts), device, context));
}

CudaDevice::~CudaDevice() {
  if (!abandoned_.load(std::memory_order_relaxed))  // EDGE(abandon) relaxed: a flag alone
    (void)driver_.cuDevicePrimaryCtxRelease_v2(device_);
}

absl::Status CudaDevice::Enter() const {
  // EDGE(abandon) relaxed: a flag alone.
  if (abandoned_.load(std::memory_order_relaxed)) return absl::UnavailableError(facts_.uuid + " is lost");
  return Check(driver_.cuCtxSetCurrent(context_), "enter device " + facts_.uuid);
}

absl::StatusOr<CudaStream> CudaStream::Create(std::shared_ptr<const CudaDevice> device) {
  if (absl::Status entered = device->Enter(); !entered.ok()) return entered;
  cuda::CUstream stream = nullptr;
  const auto made = device->driver().cuStreamCreateWithPriority(&stream, cuda::CU_STREAM_NON_BLOCKING, 0);
  if (absl::Status ok = device->Check(made, "make a stream"); !ok.ok()) return ok;
  return CudaStream(std::move(device), stream);
}

CudaStream::~CudaStream() {
  if (stream_ != nullptr && device_->Enter().ok()) (void)device_->driver().cuStreamDestroy_v2(stream_);
}

}  // namespace zerohop
