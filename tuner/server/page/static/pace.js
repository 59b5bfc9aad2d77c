// What takes long is done less often, so that many pages leave the server its breath; what is asked for meanwhile is done
// once more at the end.
export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

export function paced(act, together = 0) {
  let state = "idle";
  return async function run() {
    if (state === "busy") state = "again";
    if (state !== "idle") return;
    state = "waiting";
    await pause(together);
    state = "busy";
    const began = performance.now();
    await act();
    await pause(2 * (performance.now() - began));
    const again = state === "again";
    state = "idle";
    if (again) run();
  };
}
