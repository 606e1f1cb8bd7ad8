// The broker in the model of rows on a device (device.pml): what is done under the
// dispatch lock, the supervisor, and the calls of the clients.

// ---- The broker's private books -----------------------------------------------------------------

typedef Queue { byte n; byte at[SHARDS] }
Queue queue;
#define NOWHERE 0
#define QUEUED 1
#define POSTED 2
byte place[SHARDS];
bool complete[SHARDS];  // its last replica was done with it; for claim 5
byte rows[SHARDS];      // RowBlock: 0 none, ELSEWHERE (heap, or host memory of lane.pml), or where they lie
#define ELSEWHERE 255
#define PLACE_OF(p, g) (1 + (p) * CELLS + (g))
#define PART_OF(rows) (((rows) - 1) / CELLS)
#define REGION_OF(rows) (((rows) - 1) % CELLS)

#define EMBEDDED 1
#define CANCELLED 2
byte outcome[TICKETS];  // 0: not answered
byte unfinished[TICKETS];
#define ANSWERED(shard) (outcome[TICKET(shard)] != 0)

#define WAITING 0
#define RESERVED 1   // its lane is made
#define LOADING 2    // offered
#define SERVING 3
#define DOOMED 4
typedef Slot { byte shard; byte region; bool landing }  // shard: 0 empty, or its tag
typedef Port { byte state; byte generation; byte part; bool by_device; bool garbage; Slot slot[CELLS] }
Port port[LANES];    // part: 1 + the part, 0 where there is none
#define SERVES(r) (port[r].state == SERVING)
#define PART(r) part[port[r].part - 1]
#define FREE_SLOT(r) (port[r].slot[0].shard == 0 || port[r].slot[1].shard == 0)
#define ROOM(r) (FREE_SLOT(r) && (!port[r].by_device || FREE_REGION(port[r].part - 1)))
#define IS_PUBLISHED(r, c) (port[r].slot[c].shard != 0 && job[(r) * CELLS + c].stage >= OK)
#define HAS_LANDED(r, c) (port[r].slot[c].landing && PART(r).landed[port[r].slot[c].region])

// ---- Under the dispatch lock --------------------------------------------------------------------

inline FreeRegion(p_, g_) {
  part[p_].region[g_] = FREE;
  part[p_].arena[g_] = 0;
  part[p_].landing[g_] = 0
}

// ~RowBlock, and the queue up to CollectReleased, which only delays.
inline DropRows(sh) {
  if
  :: rows[sh] != 0 && rows[sh] != ELSEWHERE -> FreeRegion(PART_OF(rows[sh]), REGION_OF(rows[sh]))
  :: else
  fi;
  rows[sh] = 0
}

// Claims 3 and 4: whole, and nobody writes there.
inline CheckRows(sh) {
  assert(rows[sh] != 0);
  if
  :: rows[sh] != ELSEWHERE ->
     assert(part[PART_OF(rows[sh])].landing[REGION_OF(rows[sh])] == TAG(sh));
     assert(part[PART_OF(rows[sh])].region[REGION_OF(rows[sh])] == HELD + TAG(sh));
     assert(part[PART_OF(rows[sh])].copy[REGION_OF(rows[sh])] == NONE)
  :: else
  fi
}

// Router::AnswerTicket.
inline Answer(ticket, what) {
  assert(outcome[ticket] == 0);  // claim 1
  outcome[ticket] = what;
  for (idx : 0 .. SHARDS - 1) {
    if
    :: TICKET(idx) == ticket && what == EMBEDDED -> CheckRows(idx)
    :: TICKET(idx) == ticket && what != EMBEDDED -> DropRows(idx)
    :: else
    fi
  }
}

inline PushFront(sh) {
  place[sh] = QUEUED;
  for (idx : 1 .. queue.n) { queue.at[queue.n + 1 - idx] = queue.at[queue.n - idx] }
  queue.at[0] = sh;
  queue.n++
}

inline PopFront() {
  queue.n--;
  idx = 0;
  do
  :: idx < queue.n -> queue.at[idx] = queue.at[idx + 1]; idx++
  :: else -> break
  od;
  queue.at[queue.n] = 0
}

inline ClearJob(n_) {
  job[n_].stage = 0; job[n_].region = 0; job[n_].tag = 0; job[n_].cancel = false
}

inline EmptySlot(r) {
  port[r].slot[at].shard = 0; port[r].slot[at].region = 0; port[r].slot[at].landing = false
}

// LanePort::Post; lane.pml takes it apart.
inline Post(r, sh) {
  assert(!ANSWERED(sh));
  at = (port[r].slot[0].shard == 0 -> 0 : 1);
  reg = 0;
  if
  :: port[r].by_device ->
     pt = port[r].part - 1;
     reg = (part[pt].region[0] == FREE -> 0 : 1);
     assert(part[pt].copy[reg] == NONE);  // claim 4
     part[pt].region[reg] = TAG(sh);
     part[pt].landed[reg] = false
  :: else
  fi;
  port[r].slot[at].shard = TAG(sh);
  port[r].slot[at].region = reg;
  job[r * CELLS + at].stage = IN_RING;
  job[r * CELLS + at].region = reg;
  job[r * CELLS + at].tag = TAG(sh);
  job[r * CELLS + at].cancel = false;
  complete[sh] = false;
  place[sh] = POSTED
}

// LanePort::TakeCompletion and FinishOne, of slot `at`.
inline FinishOne(r) {
  came = job[r * CELLS + at].stage;
  ClearJob(r * CELLS + at);
  if
  :: came == OK && port[r].by_device ->
     SEEN;
     complete[SHARD(port[r].slot[at].shard)] = true;
#ifdef MUTANT_ANSWER_BEFORE_LANDED
     Finish(r)
#else
     Land(r)
#endif
  :: else -> SEEN; Finish(r)
  fi
}

// LanePort::Land, CopyEngine::Land.
inline Land(r) {
  reg = port[r].slot[at].region;
  port[r].slot[at].landing = true;
  PART(r).copy[reg] = WAITS;
  waiting++;
#ifdef MUTANT_FREE_AT_COMPLETION
  PART(r).region[reg] = FREE
#endif
}

// LanePort::TakeRows, and Router::Finish.
inline Finish(r) {
  it = SHARD(port[r].slot[at].shard);
  reg = port[r].slot[at].region;
  pt = port[r].part - 1;
  EmptySlot(r);
#ifndef MUTANT_REQUEUE_AND_LAND
  assert(place[it] == POSTED);
#endif
  place[it] = NOWHERE;
  DropRows(it);
  if
  :: came == OK && !port[r].by_device -> SEEN; rows[it] = ELSEWHERE
  :: came == OK && port[r].by_device && FREE_REGION(pt) ->
     SEEN;
     part[pt].landed[reg] = false;
     rows[it] = PLACE_OF(pt, reg);
     part[pt].region[reg] = HELD + TAG(it)
  :: came == OK && port[r].by_device && !FREE_REGION(pt) ->
     SEEN;
     part[pt].landed[reg] = false;
     assert(part[pt].landing[reg] == TAG(it));  // claim 3
     rows[it] = ELSEWHERE;
     FreeRegion(pt, reg)
  :: came == WITHDRAWN && port[r].by_device -> SEEN; FreeRegion(pt, reg)
  :: came == WITHDRAWN && !port[r].by_device -> SEEN
  fi;
  if
  :: ANSWERED(it) -> SEEN; DropRows(it)
  :: else ->
     assert(came == OK);  // a replica withdraws what it was asked to
     unfinished[TICKET(it)]--;
     if
     :: unfinished[TICKET(it)] == 0 -> SEEN; tick = TICKET(it); Answer(tick, EMBEDDED)
     :: else -> SEEN
     fi
  fi
}

// LanePort::Reap: TakeLanded, FinishLanded.
inline TakeLanded(r) {
  for (at : 0 .. CELLS - 1) {
    if
    :: HAS_LANDED(r, at) -> came = OK; Finish(r)
    :: else
    fi
  };
  skip
}

// LanePort::Reap: whether DeviceIsLost; then nothing more is read from the lane.
inline LookAtDevice(r) {
  if
  :: port[r].by_device && lost -> SEEN; port[r].garbage = true
  :: else
  fi
}

// LanePort::Reap: what was completed.
inline TakeCompletions(r) {
  for (at : 0 .. CELLS - 1) {
    if
    :: IS_PUBLISHED(r, at) -> FinishOne(r)
    :: else
    fi
  };
  skip
}

#ifdef MUTANT_SUSPECT_LANDING
#define IS_SUSPECT(r) (port[r].slot[at].landing || job[r * CELLS + at].stage >= TAKEN)
#else
#define IS_SUSPECT(r) (!port[r].slot[at].landing && job[r * CELLS + at].stage >= TAKEN)
#endif

// LanePort::Abandon and the rest of Router::OnDoomed. The process may live on for a while, and copies go on.
inline OnDoomed(r) {
  if
  :: port[r].part != 0 -> TakeLanded(r)
  :: else
  fi;
  LookAtDevice(r);
  if
  :: !port[r].garbage -> TakeCompletions(r)
  :: else -> SEEN
  fi;
  for (at : 0 .. CELLS - 1) {
    if
    :: port[r].slot[at].shard != 0 -> Orphan(r)
    :: else
    fi
  }
  port[r].state = DOOMED;
#ifdef MUTANT_FREE_AT_KILL
  if
  :: port[r].part != 0 -> PART(r).lane = false; port[r].part = 0
  :: else
  fi
#endif
}

inline Orphan(r) {
  it = SHARD(port[r].slot[at].shard);
  place[it] = NOWHERE;
  if
  :: IS_SUSPECT(r) -> SEEN; assert(!complete[it])  // claim 5
  :: else -> SEEN
  fi;
  if
  :: ANSWERED(it) -> SEEN
#ifdef MUTANT_ORPHAN_LANDING
  :: !ANSWERED(it) && port[r].slot[at].landing
#endif
  :: else -> SEEN; PushFront(it)
  fi;
#ifdef MUTANT_REQUEUE_AND_LAND
  if
  :: port[r].slot[at].landing
  :: else -> EmptySlot(r)
  fi
#else
  EmptySlot(r)
#endif
}

// ---- Supervisor ---------------------------------------------------------------------------------

// LaneMaker::MakeNow; DeviceReturn::MakeLaneDevice, which a lost device and one without room refuse.
inline Make(r) {
  pt = 0;
  do
  :: pt < PARTS && part[pt].state != UNUSED -> pt++
  :: else -> break
  od;
  if
#ifdef MUTANT_OFFER_LOST
  :: pt < PARTS ->
#else
  :: pt < PARTS && !lost ->
#endif
     SEEN;
     part[pt].state = MADE;
     part[pt].lane = true;
     port[r].part = pt + 1
  :: else -> SEEN
  fi;
  port[r].state = RESERVED
}

// Replica::Begin, OnHello with OfferDevice.
inline Offer(r) {
#ifndef MUTANT_OFFER_LOST
  if
  :: lost && port[r].part != 0 -> SEEN; PART(r).lane = false; port[r].part = 0
  :: else
  fi;
#endif
  port[r].generation++;
  // A new generation needs a death; losing the device is one death more for a lane, and no second.
  assert(port[r].generation <= 1 + CRASHES + KILLS + LOSSES);
  port[r].state = LOADING;
  life[r] = RUNNING
}

// Replica::OnExit, LaneMaker::Unmake. What answers hold stays.
inline OnExit(r) {
  if
  :: port[r].part != 0 ->
     pt = port[r].part - 1;
     for (at : 0 .. CELLS - 1) {
       if
       :: part[pt].region[at] < HELD -> part[pt].region[at] = FREE
       :: else -> SEEN
       fi
     }
     part[pt].lane = false;
     port[r].part = 0
  :: else -> SEEN
  fi;
  for (at : 0 .. CELLS - 1) { ClearJob(r * CELLS + at); EmptySlot(r) }
  port[r].by_device = false;
  port[r].garbage = false;
  port[r].state = WAITING;
  ready[r] = 0;
  killed[r] = false;
  life[r] = EMPTY
}

proctype Lane(byte r) {
end:
  do
  :: d_step { port[r].state == WAITING -> Make(r) }
  :: d_step { port[r].state == WAITING && losses < LOSSES -> SEEN; losses++; lost = true; Make(r) }  // in no time
  :: d_step { port[r].state == RESERVED -> SEEN; Offer(r) }
  // OnReady with TakeDevice, OnServing.
  :: d_step { port[r].state == LOADING && ready[r] != 0 && !killed[r] ->
       SEEN; port[r].by_device = (ready[r] == BY_DEVICE); port[r].state = SERVING }
  // Doom goes on: SIGKILL was sent, or its death was noticed.
  :: d_step { SERVES(r) && (killed[r] || life[r] != RUNNING) -> SEEN; OnDoomed(r) }
  :: d_step { (port[r].state == LOADING || port[r].state == DOOMED) && life[r] == GONE -> SEEN; OnExit(r) }
  // Reap, in its three parts: others may come between.
#ifdef MUTANT_REQUEUE_AND_LAND
  :: d_step { port[r].by_device && (HAS_LANDED(r, 0) || HAS_LANDED(r, 1)) -> TakeLanded(r) }
#else
  :: d_step { SERVES(r) && port[r].by_device && !port[r].garbage && (HAS_LANDED(r, 0) || HAS_LANDED(r, 1)) ->
       SEEN; TakeLanded(r) }
#endif
#ifndef MUTANT_IGNORE_LOSS
  :: d_step { SERVES(r) && port[r].by_device && !port[r].garbage && lost ->
       SEEN; LookAtDevice(r); killed[r] = true }  // Accuse
#endif
  :: d_step { SERVES(r) && !port[r].garbage && (IS_PUBLISHED(r, 0) || IS_PUBLISHED(r, 1)) ->
       SEEN; TakeCompletions(r) }
  // PostWaiting: what was answered is dropped, then PostFront.
  :: d_step { queue.n > 0 && ANSWERED(queue.at[0]) -> SEEN; place[queue.at[0]] = NOWHERE; PopFront() }
  :: d_step { SERVES(r) && !port[r].garbage && ROOM(r) && queue.n > 0 && !ANSWERED(queue.at[0]) ->
       SEEN; it = queue.at[0]; PopFront(); Post(r, it) }
  od
}

// ---- The call of one client ---------------------------------------------------------------------

#define HOLDS(t_) ((TICKET(0) == t_ && rows[0] != 0) || (TICKET(1) == t_ && rows[1] != 0))

proctype Call(byte n) {
end:
  do
  :: d_step { outcome[n] == 0 && cancels < CANCELS ->  // Router::Withdraw
       SEEN;
       for (it : 0 .. LANES - 1) {
         for (at : 0 .. CELLS - 1) {
           if
           :: SERVES(it) && port[it].slot[at].shard != 0 && TICKET(SHARD(port[it].slot[at].shard)) == n ->
              SEEN; job[it * CELLS + at].cancel = true
           :: else
           fi
         }
       }
       Answer(n, CANCELLED);
       cancels++ }
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
