// The broker's processes in the model of a lane (lane.pml): the router's and the
// supervisor's work for each lane, and the calls of the clients.

// ---- Supervisor ---------------------------------------------------------------------------------

// ReserveLane and Spawn. Claim 4: nobody who lives maps the segment.
inline Spawn(r) {
  sg = 0;
  do
  :: KEPT(sg) -> SEEN; sg++
  :: else -> break
  od;
  for (idx : 0 .. BODIES - 1) { assert(!LIVES(idx) || maps[idx] != sg) }
  idx = r;
  do
  :: life[idx] != EMPTY -> idx = LANES
  :: else -> break
  od;
  books[sg].lane = true;
  port[r].s = sg;
  port[r].body = idx;
  port[r].generation++;
  // A new generation needs a death, and a poison shard causes three at most (claim 5).
  assert(port[r].generation <= 1 + CRASHES + KILLS + HANGS + LIES + MAX_ATTEMPTS * POISON);
  port[r].state = LOADING;
  life[idx] = RUNNING;
  maps[idx] = sg
}

// Replica::OnExit and Router::OnGone: the lane is given up whole; regions that answers hold stay.
inline OnExit(r) {
#ifdef MUTANT_DOUBLE_DRAIN
  DrainOnce(r);
  for (at_slot : 0 .. CELLS - 1) { EmptySlot(r) }
#endif
#ifndef MUTANT_FORGET_CONDEMNED
  for (it : 0 .. SHARDS - 1) {
    if
    :: condemned[it] == r + 1 -> SEEN; condemned[it] = 0; place[it] = NOWHERE; Retry(it)
    :: else
    fi
  }
#endif
  port[r].garbage = false;
  sg = port[r].s;
  books[sg].lane = false;
  for (at_slot : 0 .. CELLS - 1) {
    if
#ifdef MUTANT_FREE_LANE_AT_EXIT
    :: true -> FreeRegion(sg, at_slot)
#else
    :: books[sg].region[at_slot] < HELD -> FreeRegion(sg, at_slot)
    :: else -> SEEN
#endif
    fi;
    seg[sg].prompt[at_slot] = 0; seg[sg].cancel[at_slot] = 0;
    seg[sg].sub[at_slot].cookie = 0; seg[sg].sub[at_slot].slot = 0; seg[sg].sub[at_slot].region = 0;
    seg[sg].com[at_slot].cookie = 0; seg[sg].com[at_slot].slot = 0; seg[sg].com[at_slot].status = 0
  }
  seg[sg].sub_tail = 0; seg[sg].sub_head = 0; seg[sg].com_tail = 0; seg[sg].com_head = 0;
  seg[sg].ready = false;
  port[r].state = WAITING;
  port[r].s = 0;
#ifdef MUTANT_REQUEUE_BEFORE_EXIT_WITH_REUSE
  if
  :: life[port[r].body] != GONE  // comes late
  :: else -> life[port[r].body] = EMPTY; killed[port[r].body] = false
  fi
#else
  life[port[r].body] = EMPTY;
  killed[port[r].body] = false;
  mute[port[r].body] = false
#endif
}

// The pidfd has told; nothing else counts.
#ifdef MUTANT_REQUEUE_BEFORE_EXIT_WITH_REUSE
#define EXIT_SEEN(r) (life[port[r].body] == GONE || killed[port[r].body])
#else
#define EXIT_SEEN(r) (life[port[r].body] == GONE)
#endif

#ifdef MUTANT_POST_ANSWERED_SUSPECT
#define LOOKED_AT true
#else
#define LOOKED_AT !ANSWERED(suspects.at[0])
#endif

// The router's and the supervisor's work for one lane. The lock makes each step whole, except that
// replicas see the cell of a submission before its tail.
proctype Lane(byte r) {
end:
  do
  :: d_step { port[r].state == WAITING && (!KEPT(0) || !KEPT(1) || !KEPT(2)) -> SEEN; Spawn(r) }
  // OnReady, OnServing.
  :: d_step { dispatch == 0 && port[r].state == LOADING && !killed[port[r].body] && seg[port[r].s].ready ->
       SEEN; port[r].state = SERVING }
  // Doom goes on: SIGKILL was sent, or there is nobody left to send it to.
  :: d_step { dispatch == 0 && SERVES(r) && (killed[port[r].body] || life[port[r].body] == GONE) ->
       SEEN; OnDoomed(r) }
  :: d_step { dispatch == 0 && (port[r].state == LOADING || port[r].state == DOOMED) && EXIT_SEEN(r) ->
       SEEN; OnExit(r) }
  :: d_step { port[r].kill_request != 0 ->  // TakeKillRequests
       if
       :: port[r].state != WAITING && port[r].kill_request == port[r].generation ->
          SEEN; killed[port[r].body] = true
       :: else -> SEEN  // that generation is gone
       fi;
       port[r].kill_request = 0 }
  :: d_step { dispatch == 0 && SERVES(r) && !port[r].garbage && COMPLETIONS(port[r].s) != 0 ->  // Reap
       TakeCompletion(r);
       if
       :: port[r].garbage -> SEEN; port[r].kill_request = port[r].generation  // Accuse
       :: else
       fi }
  // PostWaiting drops what was answered on its way out of a queue.
  :: d_step { dispatch == 0 && queue.n > 0 && ANSWERED(queue.at[0]) ->
       SEEN; place[queue.at[0]] = NOWHERE; PopFront(queue) }
  :: d_step { dispatch == 0 && suspects.n > 0 && ANSWERED(suspects.at[0]) ->
       SEEN; place[suspects.at[0]] = NOWHERE; PopFront(suspects) }
  // PostFront.
  :: d_step { dispatch == 0 && MAY_POST(r) && port[r].seclusion == NONE && queue.n > 0 &&
              !ANSWERED(queue.at[0]) ->
       it = queue.at[0];
       Post(r, it);
       if
       :: dispatch != 0 -> SEEN; PopFront(queue)
       :: else
       fi }
  // PostSuspects.
  :: d_step { dispatch == 0 && SERVES(r) && !port[r].garbage && MAY_SECLUDE && suspects.n > 0 &&
              !ANSWERED(suspects.at[0]) ->
       SEEN; port[r].seclusion = EMPTYING }
  :: d_step { dispatch == 0 && SERVES(r) && port[r].seclusion == EMPTYING && suspects.n == 0 ->
       SEEN; port[r].seclusion = NONE }
  :: d_step { dispatch == 0 && MAY_POST(r) && port[r].seclusion == EMPTYING && !IN_FLIGHT(r) &&
              suspects.n > 0 && LOOKED_AT ->
       it = suspects.at[0];
       Post(r, it);
       if
       :: dispatch != 0 -> SEEN; PopFront(suspects); port[r].seclusion = SUSPECT_IN_FLIGHT
       :: else
       fi }
  :: d_step { dispatch == r + 1 ->  // LanePort::Post ends: the tail; then the lock is left
#ifdef MUTANT_TAIL_BEFORE_CELL
       sg = port[r].s;
       at_slot = (port[r].slot[0].shard != 0 && port[r].slot[0].position == seg[sg].sub_tail - 1 -> 0 : 1);
       WriteSubmission(r);
#else
       seg[port[r].s].sub_tail++;
#endif
       dispatch = 0 }
  od
}

// ---- The call of one client ---------------------------------------------------------------------

#define HOLDS(t_) ((TICKET(0) == t_ && rows[0] != 0) || (TICKET(1) == t_ && rows[1] != 0) || \
                   (TICKET(SHARDS - 1) == t_ && rows[SHARDS - 1] != 0))

// Router::Withdraw: replicas are asked not to begin; what comes back is dropped.
inline Withdraw(ticket) {
  for (it : 0 .. LANES - 1) {
    for (at_slot : 0 .. CELLS - 1) {
      if
      :: SERVES(it) && port[it].slot[at_slot].shard != 0 &&
         TICKET(SHARD(port[it].slot[at_slot].shard)) == ticket ->
         SEEN;
         seg[port[it].s].cancel[at_slot] = port[it].slot[at_slot].cookie;
#ifdef MUTANT_FREE_ON_CANCEL
         FreeRegion(port[it].s, port[it].slot[at_slot].region);
#endif
      :: else
      fi
    }
  }
  Answer(ticket, CANCELLED)
}

proctype Call(byte n) {
end:
  do
  :: d_step { dispatch == 0 && outcome[n] == 0 && cancels < CANCELS -> SEEN; Withdraw(n); cancels++ }
  :: d_step { outcome[n] == EMBEDDED && HOLDS(n) ->  // ~RowBlock: all was read
       for (it : 0 .. SHARDS - 1) {
         if
         :: TICKET(it) == n -> SEEN; CheckRows(it); DropRows(it)
         :: else
         fi
       };
       skip }
  od
}
