// The broker's private books in the model of a lane (lane.pml), and what is done
// to them under the dispatch lock: router.cc and
// dispatcher.cc of broker/router, broker/lanes/lane_port.cc.

byte dispatch;          // 1 + the lane for which the lock is held between two steps; 0: free
typedef Queue { byte n; byte at[SHARDS] }
Queue queue, suspects;

#define NOWHERE 0
#define WAITS 1      // in a queue
#define POSTED 2     // in one lane's table
#define CONDEMNED 3  // its last attempt died; answered once the exit of its replica was seen
byte place[SHARDS];     // router.h, invariant 1
byte attempts[SHARDS];
bool suspect[SHARDS];
byte condemned[SHARDS]; // 1 + the lane
byte rows[SHARDS];      // RowBlock: 0 none, HEAP, or where they lie
#define HEAP 255
#define PLACE_OF(sg, at_region) (1 + (sg) * CELLS + (at_region))
#define SEG_OF(rows) (((rows) - 1) / CELLS)
#define REGION_OF(rows) (((rows) - 1) % CELLS)

#define EMBEDDED 1
#define LOST 2
#define CANCELLED 3
byte outcome[TICKETS];  // 0: not answered
byte unfinished[TICKETS];
#define ANSWERED(shard) (outcome[TICKET(shard)] != 0)

#define WAITING 0
#define LOADING 1
#define SERVING 2
#define DOOMED 3     // served; its work was taken back, its exit is not seen
#define NONE 0
#define EMPTYING 1
#define SUSPECT_IN_FLIGHT 2
typedef Slot { byte shard; byte cookie; byte region; byte position }  // shard: 0 empty, or its tag
typedef Port {
  byte state; byte generation; byte body; byte s;
  bool garbage; byte seclusion; byte kill_request;  // the generation to kill
  Slot slot[CELLS]
}
Port port[LANES];
#define FREE 0
#define HELD 100     // by a RowBlock; below it: the tag of the shard that it is posted for
typedef Books { bool lane; byte region[CELLS] }  // per segment; `lane`: supervisor or port refers to it
Books books[SEGMENTS];

#define IN_FLIGHT(r) (port[r].slot[0].shard != 0 || port[r].slot[1].shard != 0)
#define FREE_SLOT(r) (port[r].slot[0].shard == 0 || port[r].slot[1].shard == 0)
#define FREE_REGION(sg) (books[sg].region[0] == FREE || books[sg].region[1] == FREE)
#define KEPT(sg) (books[sg].lane || books[sg].region[0] >= HELD || books[sg].region[1] >= HELD)
#define SECLUDED(r) (port[r].state == SERVING && port[r].seclusion != NONE)
#define SERVES(r) (port[r].state == SERVING)
#define MAY_POST(r) (SERVES(r) && !port[r].garbage && FREE_SLOT(r) && FREE_REGION(port[r].s))
#define COMPLETIONS(sg) (seg[sg].com_tail - seg[sg].com_head)
#if LANES != 2 || CELLS != 2
#error "the macros above spell out two lanes and two cells"
#endif
// Half of the serving lanes at most, and one at least: of two lanes, one.
#define MAY_SECLUDE (!SECLUDED(0) && !SECLUDED(1))

inline PushFront(q, sh) {
  assert(place[sh] == NOWHERE);  // invariant 1
  place[sh] = WAITS;
  for (idx : 1 .. q.n) { q.at[q.n + 1 - idx] = q.at[q.n - idx] }
  q.at[0] = sh;
  q.n++
}

inline PopFront(q) {
  q.n--;
  idx = 0;
  do
  :: idx < q.n -> q.at[idx] = q.at[idx + 1]; idx++
  :: else -> break
  od;
  q.at[q.n] = 0
}

// Also what ReleaseResponse leads to; the queue between them only delays.
inline FreeRegion(s_, g_) {
  books[s_].region[g_] = FREE;
  seg[s_].row_a[g_] = 0;
  seg[s_].row_b[g_] = 0
}

inline DropRows(sh) {
  if
  :: rows[sh] != 0 && rows[sh] != HEAP -> FreeRegion(SEG_OF(rows[sh]), REGION_OF(rows[sh]))
  :: else
  fi;
  rows[sh] = 0
}

// Claim 3.
inline CheckRows(sh) {
  assert(rows[sh] != 0);
  if
  :: rows[sh] != HEAP ->
     assert(seg[SEG_OF(rows[sh])].row_a[REGION_OF(rows[sh])] == TAG(sh));
     assert(seg[SEG_OF(rows[sh])].row_b[REGION_OF(rows[sh])] == TAG(sh));
#ifndef MUTANT_FREE_AT_ANSWER
     assert(books[SEG_OF(rows[sh])].region[REGION_OF(rows[sh])] == HELD + TAG(sh))
#endif
  :: else
  fi
}

// Router::AnswerTicket: from now on the rows belong to the sender, or are dropped.
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

// Router::Retry.
inline Retry(sh) {
  if
  :: ANSWERED(sh) -> SEEN
  :: !ANSWERED(sh) && attempts[sh] < MAX_ATTEMPTS && suspect[sh] -> SEEN; PushFront(suspects, sh)
  :: !ANSWERED(sh) && attempts[sh] < MAX_ATTEMPTS && !suspect[sh] -> SEEN; PushFront(queue, sh)
  :: !ANSWERED(sh) && attempts[sh] >= MAX_ATTEMPTS ->
     SEEN;
     assert(attempts[sh] == MAX_ATTEMPTS);  // claim 5
     Answer(TICKET(sh), LOST)
  fi
}

// ---- Router and LanePort, under the dispatch lock -----------------------------------------------

// Nothing more is read from this replica; only a liar is called one.
inline Garbage(r) {
  assert(lies > 0);
  port[r].garbage = true
}

// LanePort::Post up to the cell; Submit stores the tail.
inline Post(r, sh) {
  assert(!ANSWERED(sh));  // its body is gone
  sg = port[r].s;
  at_slot = (port[r].slot[0].shard == 0 -> 0 : 1);
  at_region = (books[sg].region[0] == FREE -> 0 : 1);
  // Claim 4: nobody who lives has this region in hand.
  for (idx : 0 .. BODIES * JOBS - 1) {
    assert(job[idx].stage == 0 || maps[idx / JOBS] != sg || job[idx].region != at_region)
  }
  if
  :: seg[sg].sub_tail - seg[sg].sub_head > CELLS || seg[sg].sub_tail < seg[sg].sub_head ->
     SEEN;
     Garbage(r);  // kCorrupt: the head is impossible
     port[r].kill_request = port[r].generation
  :: else ->
     assert(seg[sg].sub_tail - seg[sg].sub_head < CELLS);  // never full: as many slots as cells
     assert(seg[sg].sub_tail < 15 && port[r].generation < 16);  // so cookies differ
     books[sg].region[at_region] = TAG(sh);
     port[r].slot[at_slot].shard = TAG(sh);
     port[r].slot[at_slot].cookie = 16 * port[r].generation + seg[sg].sub_tail;
     port[r].slot[at_slot].region = at_region;
     port[r].slot[at_slot].position = seg[sg].sub_tail;
     seg[sg].prompt[at_slot] = TAG(sh);
     place[sh] = POSTED;
#ifndef MUTANT_RETRY_FOREVER
     attempts[sh]++;
#endif
     dispatch = r + 1;
#ifdef MUTANT_TAIL_BEFORE_CELL
     seg[sg].sub_tail++
#else
     WriteSubmission(r)
#endif
  fi
}

// The cell of what lies in `at_slot`.
inline WriteSubmission(r) {
  seg[sg].sub[port[r].slot[at_slot].position % CELLS].cookie = port[r].slot[at_slot].cookie;
  seg[sg].sub[port[r].slot[at_slot].position % CELLS].slot = at_slot;
  seg[sg].sub[port[r].slot[at_slot].position % CELLS].region = port[r].slot[at_slot].region
}

// LanePort::FinishOne and Router::Finish, for the completion at the head. The d_step is the copy: what
// the replica does to the cell afterwards is not looked at.
inline TakeCompletion(r) {
  sg = port[r].s;
  if
  :: COMPLETIONS(sg) > CELLS -> SEEN; Garbage(r)  // an impossible tail
  :: else ->
     at_slot = seg[sg].com[seg[sg].com_head % CELLS].slot;
     came_status = seg[sg].com[seg[sg].com_head % CELLS].status;
     came_cookie = seg[sg].com[seg[sg].com_head % CELLS].cookie;
     seg[sg].com_head++;
     if
     :: port[r].slot[at_slot].shard == 0 -> SEEN; Garbage(r)  // kNoSuchSlot
#ifndef MUTANT_NO_COOKIE_CHECK
     :: port[r].slot[at_slot].shard != 0 && came_cookie != port[r].slot[at_slot].cookie ->
        SEEN;
        Garbage(r)  // kForeignCookie
#endif
     :: else -> Finish(r)
     fi
  fi
}

inline Finish(r) {
  it = SHARD(port[r].slot[at_slot].shard);
  at_region = port[r].slot[at_slot].region;
  EmptySlot(r);
#ifndef MUTANT_DOUBLE_DRAIN
  assert(place[it] == POSTED);
#endif
  place[it] = NOWHERE;
  DropRows(it);  // what a RowBlock held before is released when it is moved into
  // TakeRows: in the arena, or copied out where room is scarce.
  if
  :: came_status == OK && FREE_REGION(sg) ->
     SEEN;
     rows[it] = PLACE_OF(sg, at_region);
#ifdef MUTANT_FREE_AT_ANSWER
     books[sg].region[at_region] = FREE
#else
     books[sg].region[at_region] = HELD + TAG(it)
#endif
  :: came_status == OK && !FREE_REGION(sg) ->
     SEEN;
     // Claim 3.
     assert(ANSWERED(it) || (seg[sg].row_a[at_region] == TAG(it) && seg[sg].row_b[at_region] == TAG(it)));
     rows[it] = HEAP;
     FreeRegion(sg, at_region)
  :: came_status != OK ->
     SEEN;
     assert(came_status != WITHDRAWN || ANSWERED(it));  // a replica withdraws what it was asked to
     FreeRegion(sg, at_region)
  fi;
  if
  :: suspect[it] -> SEEN; port[r].seclusion = NONE
  :: else
  fi;
#ifdef MUTANT_ANSWER_TWICE
  if
  :: false
#else
  if
  :: ANSWERED(it) -> SEEN; DropRows(it)  // withdrawn meanwhile
#endif
  :: else ->
     if
     :: came_status == OK ->
        unfinished[TICKET(it)]--;
        if
        :: unfinished[TICKET(it)] == 0 -> SEEN; tick = TICKET(it); Answer(tick, EMBEDDED)
        :: else -> SEEN
        fi
     :: came_status != OK -> SEEN; Retry(it)
     fi
  fi
}

inline EmptySlot(r) {
  port[r].slot[at_slot].shard = 0;
  port[r].slot[at_slot].cookie = 0;
  port[r].slot[at_slot].region = 0;
  port[r].slot[at_slot].position = 0
}

// LanePort::Abandon and the rest of Router::OnDoomed. The process may live on for a while.
inline OnDoomed(r) {
  DrainOnce(r);
#ifndef MUTANT_FORGET_ORPHANS
  Orphans(r);
#endif
#ifndef MUTANT_DOUBLE_DRAIN
  for (at_slot : 0 .. CELLS - 1) { EmptySlot(r) }
#endif
  port[r].seclusion = NONE;
  port[r].state = DOOMED
}

// What was committed counts, up to the first garbage.
inline DrainOnce(r) {
  do
  :: !port[r].garbage && COMPLETIONS(port[r].s) != 0 -> SEEN; TakeCompletion(r)
  :: else -> break
  od
}

inline Requeue(r, sh) {
  if
  :: ANSWERED(sh) -> SEEN
  :: !ANSWERED(sh) && attempts[sh] < MAX_ATTEMPTS -> SEEN; Retry(sh)
  :: !ANSWERED(sh) && attempts[sh] >= MAX_ATTEMPTS ->
     SEEN;
     condemned[sh] = r + 1;
     place[sh] = CONDEMNED
  fi
}

// Youngest first, each to the head: the oldest ends up foremost.
inline Orphans(r) {
  sg = port[r].s;
  now_at = seg[sg].sub_tail;
  // TakenByConsumer clamps.
  taken = (seg[sg].sub_head > seg[sg].sub_tail -> seg[sg].sub_tail : seg[sg].sub_head);
  do
  :: now_at > 0 ->
     now_at--;
     for (at_slot : 0 .. CELLS - 1) {
       if
       :: port[r].slot[at_slot].shard != 0 && port[r].slot[at_slot].position == now_at ->
          it = SHARD(port[r].slot[at_slot].shard);
          place[it] = NOWHERE;
          if
#ifdef MUTANT_NO_SUSPECTS
          :: true
#else
          :: now_at < taken -> SEEN; suspect[it] = true
          :: now_at >= taken -> SEEN; attempts[it]--  // that death was none of its doing
#endif
          fi;
          Requeue(r, it)
       :: else
       fi
     }
  :: else -> break
  od
}
