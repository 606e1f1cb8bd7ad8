#pragma once

// LiveTickets: the tickets that are accepted and not answered, oldest first, and
// by the id of their request, of which there may be several. Allocates nothing:
// the links lie in the tickets. Guarded by the dispatch lock.

#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "broker/router/ticket.h"

namespace zerohop {

class LiveTickets {
 public:
  LiveTickets() = default;
  LiveTickets(const LiveTickets&) = delete;
  LiveTickets& operator=(const LiveTickets&) = delete;
  ~LiveTickets() {
    while (!by_age_.empty()) (void)Remove(by_age_.front());
  }

  // Keeps it until it is removed. Its id does not change in between.
  void Add(const std::shared_ptr<Ticket>& ticket) {
    ticket->kept_live = ticket;
    by_age_.push_back(*ticket);
    by_id_.insert(*ticket);
  }
  // The reference that kept it; perhaps the last.
  std::shared_ptr<Ticket> Remove(Ticket& ticket) {
    by_age_.erase(by_age_.iterator_to(ticket));
    by_id_.erase(by_id_.iterator_to(ticket));
    return std::exchange(ticket.kept_live, nullptr);
  }

  std::vector<std::shared_ptr<Ticket>> Find(std::string_view request_id) {
    std::vector<std::shared_ptr<Ticket>> found;
    const auto [first, last] = by_id_.equal_range(request_id, ById());
    for (auto it = first; it != last; ++it) found.push_back(it->kept_live);
    return found;
  }
  // Null where there is none.
  std::shared_ptr<Ticket> Oldest() { return by_age_.empty() ? nullptr : by_age_.front().kept_live; }
  // Calls `visit` with a reference to each, oldest first; it neither adds nor removes any.
  template <typename Visit>
  void ForEach(Visit visit) {
    for (Ticket& ticket : by_age_) visit(ticket.kept_live);
  }

 private:
  struct ById {
    bool operator()(const Ticket& a, const Ticket& b) const {
      return a.request_id.view() < b.request_id.view();
    }
    bool operator()(const Ticket& a, std::string_view b) const { return a.request_id.view() < b; }
    bool operator()(std::string_view a, const Ticket& b) const { return a < b.request_id.view(); }
  };

  boost::intrusive::list<Ticket> by_age_;
  boost::intrusive::multiset<Ticket, boost::intrusive::compare<ById>> by_id_;
};

}  // namespace zerohop
