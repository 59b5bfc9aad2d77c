// What takes long is done less often, so that many pages leave the server its breath; what is asked for meanwhile is done
// once more at the end.
export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// For `rest` times as long as it took nothing is done after it, unless somebody waits for it `now`. In a `lane` one is done
// at a time, in all tabs of a browser.
export function paced(act, { rest, together = 0, lane = "" }) {
  let state = "idle", took = 0, wake;
  const timed = async () => { const began = performance.now(); state = "busy"; await act(); took = performance.now() - began; };
  return async function run(now) {
    if (now) wake?.();
    if (state === "busy") state = "again";
    if (state !== "idle") return;
    const woken = new Promise((done) => { wake = done; state = "waiting"; });
    await pause(together).then(() => (lane && navigator.locks ? navigator.locks.request(`tuner-${lane}`, timed) : timed()));
    await Promise.race([pause(rest * took), woken]);
    if (state === "again") return state = "idle", run();
    state = "idle";
  };
}
