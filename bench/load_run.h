#pragma once

// Channels to the server under load, and one run of all workers against it.

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/load_options.h"
#include "bench/load_worker.h"

namespace zerohop::bench {

using Channels = std::vector<std::shared_ptr<grpc::Channel>>;

// `options.channels` connections of their own: gRPC would share one otherwise.
Channels OpenChannels(const LoadOptions& options);

// Sends one Encode after the other until one succeeds. Within
// `options.wait_ready`; else why the last one did not.
std::optional<std::string> WaitUntilReady(const LoadOptions& options, const RequestPool& pool,
                                          const std::shared_ptr<grpc::Channel>& channel);

// Connects every channel, then sends. Throws std::runtime_error where one does not connect.
LoadResult RunLoad(const LoadOptions& options, const RequestPool& pool, const Channels& channels);

}  // namespace zerohop::bench
