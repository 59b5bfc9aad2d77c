// The sliders of settings: each even on its parameter's own scale, and coupled to the field beside it, which has the number.
const SCALES = {
  linear: [(value) => value, (bent) => bent],
  log: [Math.log, Math.exp],
  log_one_minus: [(value) => -Math.log1p(-value), (bent) => -Math.expm1(-bent)],
};

export function couple(setting) {
  const slider = setting.querySelector("[type=range]"), field = setting.querySelector("[name]");
  if (!slider) return;
  const { scale, low, high } = setting.dataset, [bend, unbend] = SCALES[scale], beside = setting.querySelector("output");
  const first = bend(Number(low)), span = bend(Number(high)) - first;
  const tell = () => { if (scale === "log_one_minus") beside.value = `1 − β = ${Number((1 - field.value).toPrecision(3))}`; };
  const follow = () => { slider.value = 1000 * (bend(Number(field.value)) - first) / span; tell(); };
  slider.addEventListener("input", () => {
    const value = Number(unbend(first + span * slider.value / 1000).toPrecision(4));
    field.value = field.inputMode === "numeric" ? Math.round(value) : value;
    tell();
  });
  field.addEventListener("input", follow);
  follow();
}
