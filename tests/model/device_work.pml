// What goes on beside the dispatch lock in the model of rows on a device
// (device.pml): the copy engine, the device, the replica, and what may befall it.

// ---- Copies, and the end of a part --------------------------------------------------------------

inline CountCopies() {
  waiting = 0; running = 0; arrived = 0;
  for (pt : 0 .. PARTS - 1) {
    for (reg : 0 .. CELLS - 1) {
      waiting = waiting + (part[pt].copy[reg] == WAITS);
      running = running + (part[pt].copy[reg] == RUNS);
      arrived = arrived + (part[pt].copy[reg] == ARRIVED)
    }
  };
  skip
}

inline MoveCopies(from, to) {
  for (pt : 0 .. PARTS - 1) {
    for (reg : 0 .. CELLS - 1) {
      if
      :: part[pt].copy[reg] == from -> part[pt].copy[reg] = to
      :: else
      fi
    }
  }
  CountCopies()
}

inline PutLanded() {
  for (pt : 0 .. PARTS - 1) {
    for (reg : 0 .. CELLS - 1) {
      if
      :: part[pt].copy[reg] == ARRIVED -> part[pt].landed[reg] = true
      :: else
      fi
    }
  }
  MoveCopies(ARRIVED, NONE)
}

// CopyEngine::Run. A batch is what waits while another runs.
proctype CopyEngine() {
end:
  do
  // TakeBatch, CopyLandings.
  :: d_step { waiting > 0 && running + arrived == 0 && !lost -> SEEN; MoveCopies(WAITS, RUNS) }
  // WaitForStream ends; PutLanded.
  :: d_step { arrived > 0 && running == 0 -> SEEN; PutLanded() }
  // A copy fails, cannot be submitted, or does not end in time: OnLost, Lose.
  :: d_step { running + arrived > 0 && (lost || losses < LOSSES) ->
       SEEN;
       losses = LOSSES;
       lost = true;
#ifdef MUTANT_LAND_FAILED
       MoveCopies(RUNS, ARRIVED);
       PutLanded() }
#else
       MoveCopies(RUNS, ASTRAY);
       MoveCopies(ARRIVED, KEPT) }
#endif
#ifndef MUTANT_KEEP_WAITING
  // Once lost nothing is submitted: GiveBackWaiting, also behind what never ends.
  :: d_step { waiting > 0 && lost -> SEEN; MoveCopies(WAITS, NONE) }
#endif
  od
}

// Of one region: the device copies at any time after it was asked to.
proctype Dma(byte p; byte g) {
end:
  do
  :: d_step { part[p].copy[g] == RUNS || part[p].copy[g] == ASTRAY ->
       assert(part[p].state == MADE && part[p].region[g] < HELD);  // claim 4
       part[p].landing[g] = part[p].arena[g];
       if
       :: part[p].copy[g] == RUNS -> SEEN; part[p].copy[g] = ARRIVED; running--; arrived++
       :: else -> SEEN; part[p].copy[g] = KEPT
       fi }
  od
}

// ~LaneDevice, on the device's own thread, some time after the last reference went.
proctype Unmake(byte p) {
end:
  do
  :: d_step { part[p].state == MADE && !IS_KEPT(p) ->
       for (idx : 0 .. LANES - 1) { assert(opened[idx] != p + 1) }  // claim 4
       for (idx : 0 .. SHARDS - 1) { assert(rows[idx] == 0 || rows[idx] == ELSEWHERE || PART_OF(rows[idx]) != p) }
       for (reg : 0 .. CELLS - 1) {
         assert(part[p].copy[reg] == NONE || part[p].copy[reg] == KEPT);
         part[p].copy[reg] = NONE;
         part[p].landed[reg] = false;
         FreeRegion(p, reg)
       }
       if
       :: lost -> SEEN; part[p].state = LEFT  // Enter fails
       :: else -> SEEN; part[p].state = UNUSED
       fi }
  od
}

// ---- The replica --------------------------------------------------------------------------------

#ifdef MUTANT_PUBLISH_BEFORE_STREAM
#define IS_DONE(b) true
#else
#define IS_DONE(b) !(IN_STREAM(b, 0) || IN_STREAM(b, 1))
#endif
#define IN_STREAM(b, i) (stream[b].n > i && stream[b].region[i] == job[n].region && stream[b].tag[i] == job[n].tag)
#if SHARDS != 2 || CELLS != 2
#error "the macros above spell out two shards and two cells"
#endif

// DeviceRows::Make, once; then the worker's steps with its job n.
proctype Worker(byte b; byte n) {
end:
  do
  :: d_step { life[b] == RUNNING && n == b * CELLS && port[b].state == LOADING && ready[b] == 0 &&
              port[b].part != 0 ->  // ImportedArena::Open
       SEEN; assert(PART(b).state == MADE); opened[b] = port[b].part; ready[b] = BY_DEVICE }
  :: d_step { life[b] == RUNNING && n == b * CELLS && port[b].state == LOADING && ready[b] == 0 &&
              port[b].part != 0 && refusals < REFUSALS ->
       SEEN; refusals++; ready[b] = BY_HOST }
  :: d_step { life[b] == RUNNING && n == b * CELLS && port[b].state == LOADING && ready[b] == 0 &&
              port[b].part == 0 ->
       SEEN; ready[b] = BY_HOST }
  :: d_step { life[b] == RUNNING && job[n].stage == IN_RING -> SEEN; job[n].stage = TAKEN }  // TakeSubmission
  :: d_step { life[b] == RUNNING && job[n].stage == TAKEN ->  // RunBatch
       if
       :: ready[b] == BY_DEVICE ->
          SEEN;
          stream[b].region[stream[b].n] = job[n].region;
          stream[b].tag[stream[b].n] = job[n].tag;
          stream[b].n++
       :: else -> SEEN
       fi;
       job[n].stage = RAN }
  :: d_step { life[b] == RUNNING && job[n].stage == RAN && IS_DONE(b) ->  // LandFinished, PublishFinished
       SEEN; job[n].stage = OK }
  // DropWithdrawn: some of its rows may have been submitted, and nobody waits for them.
  :: d_step { life[b] == RUNNING && (job[n].stage == TAKEN || job[n].stage == RAN) && job[n].cancel ->
       SEEN; job[n].stage = WITHDRAWN }
  od
}

// The device writes the rows of a replica, and what may befall the process.
proctype Fate(byte b) {
end:
  do
  :: d_step { stream[b].n > 0 ->
       SEEN;
       pt = opened[b] - 1;
       reg = stream[b].region[0];
       // Claim 4. The region of what was withdrawn may have been posted anew: the stream keeps the order.
       assert(opened[b] != 0 && part[pt].state == MADE);
       assert(part[pt].copy[reg] == NONE && part[pt].region[reg] < HELD);
       part[pt].arena[reg] = stream[b].tag[0];
       stream[b].n--;
       stream[b].region[0] = stream[b].region[1]; stream[b].tag[0] = stream[b].tag[1];
       stream[b].region[1] = 0; stream[b].tag[1] = 0 }
#ifdef MUTANT_WORK_OUT_OF_ORDER
  :: d_step { stream[b].n == 2 ->
       reg = stream[b].region[0]; it = stream[b].tag[0];
       stream[b].region[0] = stream[b].region[1]; stream[b].tag[0] = stream[b].tag[1];
       stream[b].region[1] = reg; stream[b].tag[1] = it }
#endif
  :: d_step { life[b] == RUNNING && crashes < CRASHES -> SEEN; crashes++; life[b] = DYING }
  // Slow, and taken for one that hangs.
  :: d_step { life[b] == RUNNING && !killed[b] && kills < KILLS -> SEEN; kills++; killed[b] = true }
  :: d_step { life[b] == RUNNING && killed[b] -> SEEN; life[b] = DYING }  // SIGKILL takes effect
  :: d_step { life[b] == DYING ->  // the driver ends what it began, and closes what it opened
       SEEN;
       life[b] = GONE;
       opened[b] = 0;
       stream[b].n = 0;
       for (idx : 0 .. SHARDS - 1) { stream[b].region[idx] = 0; stream[b].tag[idx] = 0 }
       skip }
  od
}
