#include "broker/front/reflection_service.h"

#include <grpcpp/server_context.h>
#include <grpcpp/support/async_stream.h>

#include "broker/front/completion_event.h"

namespace zerohop {
namespace {

using google::protobuf::FileDescriptor;
using grpc::reflection::v1alpha::ExtensionRequest;
using grpc::reflection::v1alpha::FileDescriptorResponse;
using grpc::reflection::v1alpha::ServerReflectionRequest;
using grpc::reflection::v1alpha::ServerReflectionResponse;

grpc::Status NotFound(const std::string& what) {
  return {grpc::StatusCode::NOT_FOUND, what + " not found"};
}

// What one stream is told. A file that another imports is sent once a stream; one that is asked for, each
// time.
class Answers {
 public:
  Answers(const std::vector<std::string>& services, const ReflectionService::Pool& pool)
      : services_(services), pool_(pool) {}

  ServerReflectionResponse To(const ServerReflectionRequest& request) {
    ServerReflectionResponse response;
    response.set_valid_host(request.host());
    *response.mutable_original_request() = request;
    const grpc::Status status = Fill(request, &response);
    if (!status.ok()) {
      auto* error = response.mutable_error_response();
      error->set_error_code(status.error_code());
      error->set_error_message(status.error_message());
    }
    return response;
  }

 private:
  grpc::Status Fill(const ServerReflectionRequest& request, ServerReflectionResponse* response) {
    using Request = ServerReflectionRequest;
    switch (request.message_request_case()) {
      case Request::kFileByFilename:
        return AddFile(pool_.FindFileByName(request.file_by_filename()), "File", response);
      case Request::kFileContainingSymbol:
        return AddFile(pool_.FindFileContainingSymbol(request.file_containing_symbol()), "Symbol", response);
      case Request::kFileContainingExtension:
        return AddFileOfExtension(request.file_containing_extension(), response);
      case Request::kAllExtensionNumbersOfType:
        return AddExtensionNumbers(request.all_extension_numbers_of_type(), response);
      case Request::kListServices:
        for (const std::string& name : services_) {
          response->mutable_list_services_response()->add_service()->set_name(name);
        }
        return grpc::Status::OK;
      case Request::MESSAGE_REQUEST_NOT_SET:
        break;
    }
    return {grpc::StatusCode::UNIMPLEMENTED, "No kind of request that is known here"};
  }

  // `what` was looked for, and is in `file`, if anywhere.
  grpc::Status AddFile(const FileDescriptor* file, const std::string& what,
                       ServerReflectionResponse* response) {
    if (file == nullptr) return NotFound(what);
    // Clients take the first file for the answer, so it may not be left out.
    sent_.erase(file);
    AddUnsent(file, response->mutable_file_descriptor_response());
    return grpc::Status::OK;
  }

  void AddUnsent(const FileDescriptor* file, FileDescriptorResponse* response) {
    if (!sent_.insert(file).second) return;
    google::protobuf::FileDescriptorProto proto;
    file->CopyTo(&proto);
    response->add_file_descriptor_proto(proto.SerializeAsString());
    for (int i = 0; i < file->dependency_count(); ++i) AddUnsent(file->dependency(i), response);
  }

  grpc::Status AddFileOfExtension(const ExtensionRequest& request, ServerReflectionResponse* response) {
    const auto* type = pool_.FindMessageTypeByName(request.containing_type());
    if (type == nullptr) return NotFound("Type");
    const auto* extension = pool_.FindExtensionByNumber(type, request.extension_number());
    return AddFile(extension ? extension->file() : nullptr, "Extension", response);
  }

  grpc::Status AddExtensionNumbers(const std::string& name, ServerReflectionResponse* response) {
    const auto* type = pool_.FindMessageTypeByName(name);
    if (type == nullptr) return NotFound("Type");
    std::vector<const google::protobuf::FieldDescriptor*> extensions;
    pool_.FindAllExtensions(type, &extensions);
    auto* numbers = response->mutable_all_extension_numbers_response();
    numbers->set_base_type_name(name);
    for (const auto* extension : extensions) numbers->add_extension_number(extension->number());
    return grpc::Status::OK;
  }

  const std::vector<std::string>& services_;
  const ReflectionService::Pool& pool_;
  std::unordered_set<const FileDescriptor*> sent_;
};

}  // namespace

// One stream: reads a request, writes its answer, reads the next. Owns itself.
//
// The call is over when gRPC has said so (Done, which is also how a client that
// leaves shows) and nothing is under way. An operation that fails needs no
// care: the read that follows fails as well, and Done comes.
class ReflectionService::StreamCall {
 public:
  StreamCall(ReflectionService& reflection, grpc::ServerCompletionQueue* queue, LiveCalls& live_calls)
      : reflection_(reflection),
        queue_(queue),
        live_calls_(live_calls),
        answers_(reflection.services_, reflection.pool_),
        stream_(&server_context_) {
    server_context_.AsyncNotifyWhenDone(&on_done_);
    reflection.service_.RequestServerReflectionInfo(&server_context_, &stream_, queue, queue, &on_request_);
  }

  void Cancel() { server_context_.TryCancel(); }

 private:
  void OnRequest(bool ok) {
    if (!ok) {  // the server is shutting down; Done will not come
      delete this;
      return;
    }
    live_calls_.Enter();
    new StreamCall(reflection_, queue_, live_calls_);
    {
      std::lock_guard lock(reflection_.mutex_);
      reflection_.streams_.insert(this);
      if (reflection_.left_) Cancel();
    }
    stream_.Read(&request_, &on_read_);
  }
  void OnRead(bool ok) {
    if (done_) return End();
    if (ok) {
      stream_.Write(answers_.To(request_), &on_written_);
    } else {
      stream_.Finish(grpc::Status::OK, &on_finished_);
    }
  }
  void OnWritten(bool /*ok*/) {
    if (done_) return End();
    stream_.Read(&request_, &on_read_);
  }
  void OnFinished(bool /*ok*/) {
    busy_ = false;
    if (done_) End();
  }
  void OnDone(bool /*ok*/) {
    done_ = true;
    if (!busy_) End();
  }

  void End() {
    {
      std::lock_guard lock(reflection_.mutex_);
      reflection_.streams_.erase(this);
    }
    LiveCalls& live_calls = live_calls_;
    delete this;
    live_calls.Leave();
  }

  ReflectionService& reflection_;
  grpc::ServerCompletionQueue* queue_;
  LiveCalls& live_calls_;
  Answers answers_;
  grpc::ServerContext server_context_;
  ServerReflectionRequest request_;
  grpc::ServerAsyncReaderWriter<ServerReflectionResponse, ServerReflectionRequest> stream_;
  bool busy_ = true;  // an operation is under way, as one always is until Finish has ended
  bool done_ = false;
  MemberEvent<StreamCall> on_request_{this, &StreamCall::OnRequest};
  MemberEvent<StreamCall> on_read_{this, &StreamCall::OnRead};
  MemberEvent<StreamCall> on_written_{this, &StreamCall::OnWritten};
  MemberEvent<StreamCall> on_finished_{this, &StreamCall::OnFinished};
  MemberEvent<StreamCall> on_done_{this, &StreamCall::OnDone};
};

void ReflectionService::Listen(grpc::ServerCompletionQueue* queue, LiveCalls& live_calls) {
  new StreamCall(*this, queue, live_calls);
}

void ReflectionService::Leave() {
  std::lock_guard lock(mutex_);
  left_ = true;
  for (StreamCall* stream : streams_) stream->Cancel();
}

}  // namespace zerohop
