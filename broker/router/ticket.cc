#include "broker/router/ticket.h"

namespace zerohop {

absl::Status StatusOf(const Answer& answer) {
  switch (answer.outcome) {
    case Outcome::kEmbedded:
      return absl::OkStatus();
    case Outcome::kInvalid:
      return absl::InvalidArgumentError(answer.message);
    case Outcome::kNoReplica:
    case Outcome::kReplicaLost:
    case Outcome::kLeaving:
      return absl::UnavailableError(answer.message);
    case Outcome::kOverloaded:
      return absl::ResourceExhaustedError(answer.message);
    case Outcome::kWithdrawn:
      return absl::CancelledError(answer.message);
    case Outcome::kExpired:
      return absl::DeadlineExceededError(answer.message);
  }
  return absl::InternalError("unknown outcome");
}

}  // namespace zerohop
