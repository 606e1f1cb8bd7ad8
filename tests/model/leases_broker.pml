// The broker in the model of leases (leases.pml): desk and books, the lane as
// far as it matters here, the copy engine, and the device's thread.

// ---- Who refers to what -------------------------------------------------------------------------

#ifdef MUTANT_GATHER_WITHOUT_ARENA
#define COPIES(r) false
#else
#define COPIES(r) (req[r].gather != NONE)
#endif
// RowPlace::arena of a request that lives, Gathering::to.
#define REFERS(r, a) (req[r].to == (a) + 1 && (req[r].stage == ACCEPTED || req[r].ticket == QUEUED || \
                                               req[r].ticket == POSTED || COPIES(r)))
#define BELONGS(c, a) (conn[c].arena == (a) + 1)
#define USES(a) (BELONGS(0, a) + BELONGS(1, a) + BELONGS(2, a) + BELONGS(3, a) + \
                 REFERS(0, a) + REFERS(1, a) + REFERS(2, a))

// ---- Desk ---------------------------------------------------------------------------------------

// Router::Cancel. What is gathered comes all the same.
inline Cancel(r) {
  if
  :: req[r].ticket == QUEUED -> SEEN; req[r].ticket = ENDED; req[r].mail = NO_ROWS
  :: req[r].ticket == POSTED -> SEEN; req[r].ticket = CANCELLED; req[r].mail = NO_ROWS
  :: else -> SEEN
  fi
}

// Consumer::StopAnswering.
inline StopAnswering(c) {
  conn[c].unreachable = true;
  for (it : 0 .. REQUESTS - 1) {
    if
    :: req[it].conn == c && req[it].stage == ACCEPTED -> SEEN; Cancel(it); req[it].stage = NOBODYS
    :: else
    fi
  };
  skip
}

// Consumer::Leave. The socket is closed: what was said and not heard is lost.
inline Leave(c) {
  StopAnswering(c);
  conn[c].left = true;
  conn[c].closing = false;
  for (it : 0 .. REQUESTS - 1) {
    if
    :: req[it].conn == c && (req[it].stage == SENT || req[it].stage == BACK || req[it].stage == AGAIN) ->
       SEEN; req[it].stage = NOBODYS
    :: else
    fi
  };
  skip
}

// Consumer::Send, of what sets `r` to a stage. Who has hung up, or may not be written to, is heard to its end.
#ifdef MUTANT_LEAVE_UNHEARD
#define FAIL_TO_TELL(c) Leave(c)
#else
#define FAIL_TO_TELL(c) StopAnswering(c)
#endif
inline Tell(r, how) {
  req[r].stage = how;
  if
  :: conn[req[r].conn].client == HUNG || leaving ->
     SEEN; req[r].stage = NOBODYS; at = req[r].conn; FAIL_TO_TELL(at)
  :: else -> SEEN
  fi
}

// ConsumerDesk::FindArena of connection `at`, Consumer::TakeArena.
#ifdef MUTANT_TAKE_OPEN
#define MAY_TAKE(d) (conn[d].left && conn[d].arena != 0 && USES(conn[d].arena - 1) == 1)
#else
#ifdef MUTANT_TAKE_WHILE_GATHERED
#define MAY_TAKE(d) (conn[d].left && conn[d].closed && conn[d].arena != 0)
#else
#define MAY_TAKE(d) (conn[d].left && conn[d].closed && conn[d].arena != 0 && USES(conn[d].arena - 1) == 1)
#endif
#endif
#ifdef MUTANT_NEVER_TAKE
#define IS_SAME_PROCESS(c, d) false
#else
#ifdef MUTANT_TAKE_OF_ANOTHER
#define IS_SAME_PROCESS(c, d) true
#else
#define IS_SAME_PROCESS(c, d) (OWNER(c) == OWNER(d) && !gone[OWNER(d)])
#endif
#endif
inline FindArena(c) {
  ar = 0;
  for (other : 0 .. PROCESSES * 2 - 1) {
    if
    :: ar == 0 && other != c && IS_SAME_PROCESS(c, other) && MAY_TAKE(other) ->
       SEEN; ar = conn[other].arena; conn[other].arena = 0
    :: else
    fi
  };
  skip
}

// DeviceReturn::MakeArena.
inline MakeArena(c) {
  // Claim 4. Whose end was not heard yet gets a new one.
  for (other : 0 .. PROCESSES * 2 - 1) {
    assert(!(OWNER(other) == OWNER(c) && !gone[OWNER(c)] && conn[other].left && conn[other].said &&
             conn[other].arena != 0 && USES(conn[other].arena - 1) == 1))
  }
  ar = 0;
  do
  :: ar < ARENAS && arena[ar].state != UNUSED -> ar++
  :: else -> break
  od;
  if
  :: lost -> SEEN; ar = 0
  :: else -> SEEN; assert(ar < ARENAS); arena[ar].state = MADE; arena[ar].owner = OWNER(c) + 1; ar++
  fi
}

// The rest of Consumer::OnHello: with an arena, or none. Its book is new.
inline Offer(c) {
  conn[c].heard = true;
  if
  :: ar == 0 -> SEEN; Leave(c)
  :: else ->
     conn[c].arena = ar;
     if
     :: conn[c].client == HUNG || leaving -> SEEN; StopAnswering(c)
     :: else -> SEEN; conn[c].offer = ar
     fi
  fi
}

// Consumer::OnEmbed, Submit, LeaseBook::Reserve.
inline Submit(r) {
  pl = 0;
  do
  :: pl < PLACES && conn[req[r].conn].taken[pl] != 0 -> pl++
  :: else -> break
  od;
  if
  :: conn[req[r].conn].unreachable -> SEEN; req[r].stage = NOBODYS
  :: !conn[req[r].conn].unreachable && (draining || lost) -> SEEN; Tell(r, FAILED)
  :: !conn[req[r].conn].unreachable && !draining && !lost && pl == PLACES -> SEEN; Tell(r, FAILED)
  :: else ->
     SEEN;
     conn[req[r].conn].taken[pl] = TAG(r);
     req[r].place = pl;
     req[r].to = conn[req[r].conn].arena;
     req[r].stage = ACCEPTED;
     req[r].ticket = QUEUED
  fi
}

inline FreePlace(r) {
  assert(conn[req[r].conn].taken[req[r].place] == TAG(r));  // claim 2
  conn[req[r].conn].taken[req[r].place] = 0
}

// LeaseBook::Return.
inline Return(r) {
#ifdef MUTANT_RETURN_BY_PLACE
  FreePlace(r);
#else
  if
  :: req[r].leased -> SEEN; FreePlace(r)
  :: else -> SEEN
  fi;
#endif
#ifdef MUTANT_LEASE_IN_LANE
  if
  :: req[r].leased -> part[req[r].part].region[req[r].region] = FREE
  :: else
  fi;
#endif
  req[r].leased = false;
  req[r].stage = RETURNED
}

// Consumer::OnEnd, LeaseBook::Lease.
inline OnEnd(r) {
  if
  :: req[r].stage != ACCEPTED -> SEEN
  :: req[r].stage == ACCEPTED && req[r].mail == OK ->
     SEEN;
     for (it : 0 .. REQUESTS - 1) {  // claim 2
       assert(it == r || req[it].to != req[r].to || req[it].place != req[r].place || !IS_READ(it));
       assert(it == r || req[it].conn != req[r].conn || req[it].place != req[r].place || !req[it].leased)
     }
     req[r].leased = true;
     Tell(r, TOLD)
  :: else ->
     SEEN;
#ifndef MUTANT_FREE_PLACE_AT_CANCEL
#ifndef MUTANT_FORGET_PLACE
     FreePlace(r);
#endif
#endif
     Tell(r, FAILED)
  fi;
  req[r].mail = 0
}

#ifdef MUTANT_FORGET_THE_LEFT
#define MAY_FORGET(c) (gone[OWNER(c)] || conn[c].left)
#else
#define MAY_FORGET(c) gone[OWNER(c)]
#endif

#define HAS_REQUEST(c, s) ((req[0].conn == c && req[0].stage == s) || (req[1].conn == c && req[1].stage == s) || \
                           (req[2].conn == c && req[2].stage == s))
#define IS_SERVED(c) (conn[c].heard && !conn[c].left)

// What the desk does about one connection. Its turns are in one order; here any.
proctype Desk(byte c) {
end:
  do
  :: d_step { !ended && !draining && !conn[c].heard && conn[c].client != ABSENT ->  // LetIn, OnHello
       SEEN;
       FindArena(c);
       if
       :: ar == 0 -> SEEN; MakeArena(c)
       :: else -> SEEN; arena[ar - 1].owner = (arena[ar - 1].owner == OWNER(c) + 1 -> OWNER(c) + 1 : 255)
       fi;
       Offer(c) }
  :: d_step { !ended && !draining && !conn[c].heard && conn[c].client != ABSENT && losses < LOSSES ->
       SEEN; losses++; lost = true; ar = 0; Offer(c) }  // no room in time
  :: d_step { !ended && !draining && !conn[c].heard && conn[c].client == HUNG && gone[OWNER(c)] ->
       SEEN; conn[c].heard = true; conn[c].left = true }  // not let in
  // ArenaClosed is said last, and the end is heard after all that was said.
  :: d_step { !ended && IS_SERVED(c) && conn[c].closing && !HAS_REQUEST(c, SENT) && !HAS_REQUEST(c, BACK) &&
              !HAS_REQUEST(c, AGAIN) -> SEEN; conn[c].closing = false; conn[c].closed = true }
  :: d_step { !ended && IS_SERVED(c) && conn[c].client == HUNG && !conn[c].closing && !HAS_REQUEST(c, SENT) &&
              !HAS_REQUEST(c, BACK) && !HAS_REQUEST(c, AGAIN) -> SEEN; Leave(c) }
  // ForgetTheGone.
  :: d_step { !ended && conn[c].arena != 0 && MAY_FORGET(c) -> SEEN; Leave(c); conn[c].arena = 0 }
  od
}

// RowBlocks of a Gathering; what a copy reads. The lane may have a new generation by then.
inline ReleaseRows(r) {
  part[req[r].part].region[req[r].region] = FREE;
  part[req[r].part].row[req[r].region] = 0
}

// ConsumerRequest::OnAnswer, CopyEngine::Gather.
inline OnAnswer(r) {
  part[req[r].part].region[req[r].region] = HELD_BY_ROWS + TAG(r);
  if
  :: lost -> SEEN; req[r].ticket = ENDED; ReleaseRows(r)
  :: else -> SEEN; req[r].ticket = GATHERING; req[r].gather = WAITS
  fi
}

// What desk and router do about one request.
proctype Ticket(byte r) {
end:
  do
  :: d_step { !ended && req[r].stage == SENT && IS_SERVED(req[r].conn) -> SEEN; Submit(r) }
  :: d_step { !ended && req[r].stage == BACK && IS_SERVED(req[r].conn) -> SEEN; Return(r) }
  :: d_step { !ended && req[r].stage == AGAIN && IS_SERVED(req[r].conn) -> SEEN; Return(r) }
  :: d_step { !ended && req[r].mail != 0 -> OnEnd(r) }
  :: d_step { !ended && req[r].stage == ACCEPTED && cancels < CANCELS ->  // EndOverdue
       SEEN;
#ifdef MUTANT_FREE_PLACE_AT_CANCEL
       FreePlace(r);
#endif
       cancels++;
       Cancel(r) }
#ifndef MUTANT_IGNORE_LOSS_OF_LEASES
  :: d_step { !ended && req[r].stage == ACCEPTED && lost -> SEEN; Cancel(r); Tell(r, FAILED) }  // OnDeviceLost
#endif
  :: d_step { (req[r].stage == SENT || req[r].stage == BACK || req[r].stage == AGAIN) && conn[req[r].conn].left ->
       SEEN; req[r].stage = NOBODYS }
  // A replica has written its rows, and completed it.
  :: d_step { (req[r].ticket == POSTED || req[r].ticket == CANCELLED) && lane == req[r].part + 1 ->
       for (it : 0 .. REQUESTS - 1) {  // claim 1
         assert(!COPIES(it) || req[it].gather == KEPT || req[it].part != req[r].part || req[it].region != req[r].region)
       }
       part[req[r].part].row[req[r].region] = TAG(r);
       if
       :: req[r].ticket == POSTED -> SEEN; OnAnswer(r)
       :: else -> SEEN; req[r].ticket = ENDED; ReleaseRows(r)
       fi }
  od
}

#define MAY_BE_OPEN(c) (conn[c].arena != 0 && !conn[c].closed)
#define IS_UNSEEN(c) (MAY_BE_OPEN(c) && !gone[OWNER(c)])
#define ANY_UNSEEN (IS_UNSEEN(0) || IS_UNSEEN(1) || (PROCESSES > 1 && (IS_UNSEEN(2) || IS_UNSEEN(3))))

// ConsumerDesk::Drain; deadlines may pass at any time.
proctype DeskEnd() {
end:
  do
  :: d_step { LEAVES && !draining -> SEEN; draining = true }
  :: d_step { draining && !leaving -> SEEN; leaving = true }
  :: d_step { leaving && !ended ->
       SEEN;
#ifndef MUTANT_END_WHILE_OPEN
       if
       :: ANY_UNSEEN -> SEEN; abandoned = true
       :: else -> SEEN
       fi;
#endif
       for (at : 0 .. PROCESSES * 2 - 1) {
         if
         :: conn[at].heard -> Leave(at); conn[at].arena = 0
         :: else
         fi
       }
       for (it : 0 .. REQUESTS - 1) { req[it].mail = 0 }
       ended = true }
  od
}

// ---- Lane ---------------------------------------------------------------------------------------

#define NO_ROWS_IN(p, g) (part[p].region[g] < HELD_BY_ROWS)
#define FREE_REGION(p) (part[p].region[0] == FREE || part[p].region[REGIONS - 1] == FREE)

proctype Lane() {
end:
  do
  // Posted; done; or its replica dies, or is ended because it uses a lost device. device.pml takes it apart.
  :: d_step { lane != 0 && FREE_REGION(lane - 1) &&
              (req[0].ticket == QUEUED || req[1].ticket == QUEUED || req[2].ticket == QUEUED) ->
       SEEN;
       pt = lane - 1;
       it = (req[0].ticket == QUEUED -> 0 : (req[1].ticket == QUEUED -> 1 : 2));
       reg = (part[pt].region[0] == FREE -> 0 : REGIONS - 1);
       part[pt].region[reg] = TAG(it);
       req[it].part = pt;
       req[it].region = reg;
       req[it].ticket = POSTED }
  :: d_step { lane != 0 && (crashes < CRASHES || (lost && !part[lane - 1].host)) ->
       SEEN;
       pt = lane - 1;
       crashes = (lost && !part[pt].host -> crashes : crashes + 1);
       for (reg : 0 .. REGIONS - 1) {
         if
         :: NO_ROWS_IN(pt, reg) -> part[pt].region[reg] = FREE
         :: else -> SEEN
         fi
       }
       for (it : 0 .. REQUESTS - 1) {
         if
         :: req[it].ticket == POSTED -> SEEN; req[it].ticket = QUEUED
         :: req[it].ticket == CANCELLED -> SEEN; req[it].ticket = ENDED
         :: else
         fi
       }
       part[pt].lane = false;
       lane = 0 }
  :: d_step { lane == 0 && (part[0].state == UNUSED || part[1].state == UNUSED) ->
       SEEN;
       pt = (part[0].state == UNUSED -> 0 : 1);
       part[pt].state = MADE;
       part[pt].lane = true;
       part[pt].host = (lost || BY_HOST);
       lane = pt + 1 }
  // The memory of a lane that is no more goes with the last rows that lie in it.
  :: d_step { part[0].state == MADE && !part[0].lane && NO_ROWS_IN(0, 0) && NO_ROWS_IN(0, REGIONS - 1) ->
       SEEN; part[0].state = (lost && !part[0].host -> LEFT : UNUSED) }
  :: d_step { part[1].state == MADE && !part[1].lane && NO_ROWS_IN(1, 0) && NO_ROWS_IN(1, REGIONS - 1) ->
       SEEN; part[1].state = (lost && !part[1].host -> LEFT : UNUSED) }
  od
}

// ---- Copies -------------------------------------------------------------------------------------

#define ANY(state) (req[0].gather == state || req[1].gather == state || req[2].gather == state)

inline MoveGathers(from, to_) {
  for (it : 0 .. REQUESTS - 1) {
    if
    :: req[it].gather == from -> req[it].gather = to_
    :: else
    fi
  };
  skip
}

// TellDone, ConsumerRequest::End, of all that have ended.
inline TellDone(from) {
  for (it : 0 .. REQUESTS - 1) {
    if
    :: req[it].gather == from ->
       req[it].gather = NONE;
       req[it].ticket = ENDED;
       req[it].mail = (ended -> 0 : OK);
#ifndef MUTANT_LEASE_IN_LANE
       ReleaseRows(it)
#endif
    :: else
    fi
  };
  skip
}

// What was not submitted: its rows go, and nobody is told.
inline GiveBack(from) {
  for (it : 0 .. REQUESTS - 1) {
    if
    :: req[it].gather == from -> req[it].gather = NONE; req[it].ticket = ENDED; ReleaseRows(it)
    :: else
    fi
  };
  skip
}

proctype CopyEngine() {
end:
  do
  // TakeBatch, CopyGathering.
  :: d_step { ANY(WAITS) && !ANY(RUNS) && !ANY(ARRIVED) && !lost ->
       SEEN;
#ifdef MUTANT_RELEASE_WHEN_SUBMITTED
       for (it : 0 .. REQUESTS - 1) {
         if
         :: req[it].gather == WAITS -> part[req[it].part].region[req[it].region] = FREE
         :: else
         fi
       }
#endif
#ifdef MUTANT_TELL_WHEN_SUBMITTED
       for (it : 0 .. REQUESTS - 1) {
         if
         :: req[it].gather == WAITS -> req[it].mail = OK
         :: else
         fi
       }
#endif
       MoveGathers(WAITS, RUNS) }
  // WaitForStream ends; TellDone.
  :: d_step { ANY(ARRIVED) && !ANY(RUNS) -> SEEN; TellDone(ARRIVED) }
  // A copy fails, or does not end in time: OnLost, Lose.
  :: d_step { (ANY(RUNS) || ANY(ARRIVED)) && (lost || losses < LOSSES) ->
       SEEN;
       losses = LOSSES;
       lost = true;
#ifdef MUTANT_LEASE_FAILED
       TellDone(ARRIVED);
       TellDone(RUNS) }
#else
       MoveGathers(RUNS, ASTRAY);
       MoveGathers(ARRIVED, KEPT) }
#endif
#ifndef MUTANT_KEEP_WAITING_ROWS
  // Once lost nothing is submitted: GiveBackWaiting, also behind what never ends.
  :: d_step { ANY(WAITS) && lost -> SEEN; GiveBack(WAITS) }
#endif
  od
}

// Of one request: the device copies at any time after it was asked to.
proctype Dma(byte r) {
end:
  do
  :: d_step { req[r].gather == RUNS || req[r].gather == ASTRAY ->
       // Claim 1.
       assert(arena[req[r].to - 1].state == MADE);
       assert(part[req[r].part].state == MADE && part[req[r].part].region[req[r].region] == HELD_BY_ROWS + TAG(r));
       for (it : 0 .. REQUESTS - 1) {  // claim 3
         assert(it == r || req[it].to != req[r].to || req[it].place != req[r].place || !IS_READ(it))
       }
       arena[req[r].to - 1].row[req[r].place] = part[req[r].part].row[req[r].region];
       req[r].gather = (req[r].gather == RUNS -> ARRIVED : KEPT) }
  od
}

// ~DeviceArena, on the device's own thread, some time after the last reference went.
proctype Free(byte a) {
end:
  do
  :: d_step { arena[a].state == MADE && USES(a) == 0 ->
       if
       :: lost || abandoned -> SEEN; arena[a].state = LEFT  // Enter fails
       :: else ->
          SEEN;
          assert(!IS_OPEN(a));  // claim 4
          for (at : 0 .. PROCESSES * 2 - 1) { assert(gone[OWNER(at)] || conn[at].said || conn[at].offer != a + 1) }
          arena[a].state = UNUSED;
          arena[a].owner = 0;
          for (pl : 0 .. PLACES - 1) { arena[a].row[pl] = 0 }
          skip
       fi }
  od
}
