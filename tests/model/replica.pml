// A replica in the model of a lane (lane.pml): the shim's worker, what may befall
// the process, and the lies that it may tell.

#define BETWEEN(b) (job[b * JOBS].stage == COPIED || job[b * JOBS].stage == CELL || \
                    job[b * JOBS + 1].stage == COPIED || job[b * JOBS + 1].stage == CELL)
#define WORKS(b) (life[b] == RUNNING && !mute[b] && !BETWEEN(b))

#ifdef MUTANT_PUBLISH_BEFORE_ROWS
#define PUBLISHABLE (job[n].stage == DONE || job[n].stage == HALF)
#define NOW_STATUS (job[n].stage == HALF -> OK : job[n].status)
#else
#define PUBLISHABLE (job[n].stage == DONE)
#define NOW_STATUS job[n].status
#endif

inline ClearJob(n_) {
  job[n_].stage = 0; job[n_].cookie = 0; job[n_].slot = 0;
  job[n_].region = 0; job[n_].tag = 0; job[n_].status = 0
}

inline Die(b) {
  for (at_slot : 0 .. JOBS - 1) { ClearJob(b * JOBS + at_slot) }
  maps[b] = 0;
  life[b] = GONE
}

// Claim 4: a write of a replica, however late, lands in a region that is posted for what it writes.
inline CheckWriter(b) {
  assert(books[maps[b]].lane && books[maps[b]].region[job[n].region] == job[n].tag)
}

// The worker's steps with its job n. Worker::Serve does one step at a time (WORKS); which job comes next
// depends on lengths, so any may.
proctype Worker(byte b; byte n) {
end:
  do
  :: d_step { WORKS(b) && n == b * JOBS && !seg[maps[b]].ready ->  // MarkReady
       SEEN; seg[maps[b]].ready = true }
  // RingConsumer::Take: the cell, then the head.
  :: d_step { WORKS(b) && seg[maps[b]].ready && seg[maps[b]].sub_tail > seg[maps[b]].sub_head &&
              job[n].stage == 0 && (n == b * JOBS || job[n - 1].stage != 0) ->
       SEEN;
       sg = maps[b];
       at_slot = seg[sg].sub_head % CELLS;
       job[n].cookie = seg[sg].sub[at_slot].cookie;
       job[n].slot = seg[sg].sub[at_slot].slot;
       job[n].region = seg[sg].sub[at_slot].region;
       job[n].stage = COPIED }
  :: d_step { life[b] == RUNNING && job[n].stage == COPIED ->  // and Accept
       SEEN;
       seg[maps[b]].sub_head++;
       job[n].tag = seg[maps[b]].prompt[job[n].slot];
       job[n].stage = ACCEPTED }
  // NobodyWaitsFor, in Accept and in DropWithdrawn.
  :: d_step { WORKS(b) && (job[n].stage == ACCEPTED || job[n].stage == HALF) &&
              seg[maps[b]].cancel[job[n].slot] == job[n].cookie ->
       SEEN;
       job[n].status = WITHDRAWN;
       job[n].stage = DONE }
  // RunBatch.
  :: d_step { WORKS(b) && job[n].stage == ACCEPTED && job[n].tag != TAG(poison) ->
       SEEN;
       CheckWriter(b);
       seg[maps[b]].row_a[job[n].region] = job[n].tag;
       job[n].stage = HALF }
  :: d_step { WORKS(b) && job[n].stage == ACCEPTED && job[n].tag == TAG(poison) -> SEEN; Die(b) }
  :: d_step { WORKS(b) && job[n].stage == HALF ->
       SEEN;
       CheckWriter(b);
       seg[maps[b]].row_b[job[n].region] = job[n].tag;
       job[n].status = OK;
       job[n].stage = DONE }
  :: d_step { WORKS(b) && (job[n].stage == ACCEPTED || job[n].stage == HALF) && fails < FAILS ->
       SEEN;
       fails++;
       CheckWriter(b);
       seg[maps[b]].row_a[job[n].region] = DETAIL;
       job[n].status = FAILED;
       job[n].stage = DONE }
  // Publish; RingProducer::Push: the cell, then the tail.
  :: d_step { WORKS(b) && PUBLISHABLE ->
       sg = maps[b];
       if
       :: COMPLETIONS(sg) >= CELLS ->
          SEEN;
          assert(lies > 0);  // there are as many cells as slots
          Die(b)
       :: else ->
          SEEN;
          at_slot = seg[sg].com_tail % CELLS;
          seg[sg].com[at_slot].cookie = job[n].cookie;
          seg[sg].com[at_slot].slot = job[n].slot;
          seg[sg].com[at_slot].status = NOW_STATUS;
          job[n].stage = CELL
       fi }
  :: d_step { life[b] == RUNNING && job[n].stage == CELL -> SEEN; seg[maps[b]].com_tail++; ClearJob(n) }
  od
}

// What may befall a process, at any time.
proctype Fate(byte b) {
end:
  do
  :: d_step { LIVES(b) && crashes < CRASHES -> SEEN; crashes++; Die(b) }
  // Slow, and taken for one that hangs.
  :: d_step { life[b] == RUNNING && !killed[b] && kills < KILLS -> SEEN; kills++; killed[b] = true }
  :: d_step { life[b] == RUNNING && hangs < HANGS -> SEEN; hangs++; life[b] = STOPPED }
  :: d_step { life[b] == STOPPED -> SEEN; life[b] = RUNNING }
  // Suspicion, Kill.
  :: d_step { (life[b] == STOPPED || (LIVES(b) && mute[b])) && !killed[b] -> SEEN; killed[b] = true }
  :: d_step { LIVES(b) && killed[b] -> SEEN; Die(b) }  // SIGKILL takes effect
  // Lies: Replay, JumpTail, JumpHead.
  :: d_step { WORKS(b) && lies < LIES && seg[maps[b]].com_tail > 0 && COMPLETIONS(maps[b]) < CELLS ->
       SEEN;
       lies++;
       sg = maps[b];
       at_slot = seg[sg].com_tail % CELLS;
       idx = (seg[sg].com_tail - 1) % CELLS;
       seg[sg].com[at_slot].cookie = seg[sg].com[idx].cookie;
       seg[sg].com[at_slot].slot = seg[sg].com[idx].slot;
       seg[sg].com[at_slot].status = seg[sg].com[idx].status;
       seg[sg].com_tail++ }
  :: d_step { WORKS(b) && lies < LIES && seg[maps[b]].ready ->
       SEEN; lies++; mute[b] = true; seg[maps[b]].com_tail = seg[maps[b]].com_head + CELLS + 1 }
  :: d_step { WORKS(b) && lies < LIES && seg[maps[b]].ready ->
       SEEN; lies++; mute[b] = true; seg[maps[b]].sub_head = seg[maps[b]].sub_tail + 1 }
  od
}
