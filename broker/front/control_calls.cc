#include "broker/front/control_calls.h"

namespace zerohop {
namespace {

std::string Describe(const ReplicaStatus& status, const RouterLoad::Lane& lane, const std::string& policy) {
  std::string text = "policy=" + policy + " state=" + std::string(Name(status.state)) +
                     " generation=" + std::to_string(status.generation) +
                     " restarts=" + std::to_string(status.restarts) +
                     " shards=" + std::to_string(lane.shards) + " tokens=" + std::to_string(lane.tokens);
  if (!status.info.device.empty()) {
    text += " device=" + status.info.device + " return=" + std::string(Name(status.taken.path));
  }
  if (!status.taken.reason.empty()) text += " return_reason=\"" + status.taken.reason + "\"";
  if (!status.last_death.empty()) text += " last_death=\"" + status.last_death + "\"";
  return text;
}

// What one consumer holds, or all of them.
std::string DescribeHoldings(const ConsumerStatus& status) {
  return " leases=" + std::to_string(status.leases) + " requests=" + std::to_string(status.requests) +
         " bytes_taken=" + std::to_string(status.bytes_taken) +
         " arena_bytes=" + std::to_string(status.arena_bytes) +
         " accepted=" + std::to_string(status.counts.accepted) +
         " refused=" + std::to_string(status.counts.refused);
}

void ShowConsumers(const DeskStatus& desk, arctic_inference::ReplicaInfoResponse* response) {
  ConsumerStatus all;
  all.counts = desk.counts;
  int connected = 0;
  for (const ConsumerStatus& consumer : desk.consumers) {
    connected += consumer.state != ConsumerState::kLeft;
    all.leases += consumer.leases;
    all.requests += consumer.requests;
    all.bytes_taken += consumer.bytes_taken;
    all.arena_bytes += consumer.arena_bytes;
    response->add_consumer_infos("consumer=" + std::to_string(consumer.number) +
                                 " pid=" + std::to_string(consumer.pid) +
                                 " state=" + std::string(Name(consumer.state)) + DescribeHoldings(consumer));
  }
  response->set_consumers("connected=" + std::to_string(connected) + DescribeHoldings(all) +
                          " let_go=" + std::to_string(desk.let_go));
}

}  // namespace

arctic_inference::AbortResponse Respond(const ControlContext& context,
                                        const arctic_inference::AbortRequest& request) {
  arctic_inference::AbortResponse response;
  const size_t withdrawn = context.router.Abort(request.request_id());
  response.set_success(withdrawn > 0);
  response.set_message(
      withdrawn > 0 ? "Aborted " + std::to_string(withdrawn) + " request(s) with id " + request.request_id()
                    : "No request with id " + request.request_id() + " is waiting or running");
  return response;
}

arctic_inference::ReplicaInfoResponse Respond(const ControlContext& context,
                                              const arctic_inference::ReplicaInfoRequest& /*request*/) {
  arctic_inference::ReplicaInfoResponse response;
  const std::vector<ReplicaStatus> replicas = context.supervisor.Snapshot();
  const RouterLoad load = context.router.Load();
  int healthy = 0;
  for (size_t i = 0; i < replicas.size(); ++i) {
    const ReplicaStatus& status = replicas[i];
    auto* info = response.add_replica_infos();
    const bool ready = status.state == ReplicaState::kServing;
    healthy += ready;
    info->set_model_name(context.served_model);
    info->set_task(status.info.task);
    info->set_dtype(status.info.dtype);
    info->set_ready(ready);
    info->set_parallel_config("replica=" + std::to_string(i) + " pid=" + std::to_string(status.pid) +
                              " engine=\"" + status.info.engine + "\"");
    info->set_decoding_config("dim=" + std::to_string(status.info.dim) +
                              " max_tokens=" + std::to_string(status.info.max_tokens));
    info->set_scheduler_config(Describe(status, load.lanes[i], context.policy));
  }
  response.set_n_replicas(static_cast<int>(replicas.size()));
  response.set_n_healthy_replicas(healthy);
  response.set_message(std::to_string(healthy) + " of " + std::to_string(replicas.size()) +
                       " replicas serve; " + std::to_string(load.requests) + " requests accepted, " +
                       std::to_string(load.waiting_shards) + " shards waiting");
  if (context.consumers) ShowConsumers(context.consumers(), &response);
  return response;
}

arctic_inference::HealthCheckResponse Respond(const ControlContext& context,
                                              const arctic_inference::HealthCheckRequest& /*request*/) {
  arctic_inference::HealthCheckResponse response;
  const std::vector<ReplicaStatus> replicas = context.supervisor.Snapshot();
  const uint32_t serving = context.supervisor.CountServing();
  response.set_healthy(serving > 0);
  std::string message =
      serving > 0 ? std::to_string(serving) + " of " + std::to_string(replicas.size()) + " replicas serve"
                  : "No healthy replicas";
  for (size_t i = 0; i < replicas.size(); ++i) {
    if (replicas[i].taken.reason.empty()) continue;
    message += "; replica " + std::to_string(i) + "'s rows return by the host: " + replicas[i].taken.reason;
    break;
  }
  response.set_message(message);
  return response;
}

}  // namespace zerohop
