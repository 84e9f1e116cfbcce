// The policies as functions of their fields and the iteration. A test compares them with the
// package's; see clr/policies for what they mean.
const WAVES = {
  triangle: x => 1 - x,
  welch: x => 1 - x * x,
  hann: x => 0.5 * (1 + Math.cos(Math.PI * x)),
};
const between = (low, high, share) => low * (1 - share) + high * share;
const period = p => p.stepsize + (p.stepsize_down || p.stepsize);
const cycle = (p, t) => Math.floor(t / period(p));
function swing(p, t) {
  const fromTop = t % period(p) - p.stepsize;
  const side = fromTop < 0 ? p.stepsize : p.stepsize_down || p.stepsize;
  return WAVES[p.wave || "triangle"](Math.abs(fromTop) / side);
}
const POLICIES = {
  fixed: p => p.base_lr,
  exp: (p, t) => p.base_lr * p.gamma ** t,
  decay: (p, t) =>
    between(p.base_lr, p.max_lr, WAVES[p.wave || "triangle"](Math.min(t, p.stepsize) / p.stepsize)),
  triangular: (p, t) => between(p.base_lr, p.max_lr, swing(p, t)),
  triangular2: (p, t) => between(p.base_lr, p.max_lr, swing(p, t) / 2 ** cycle(p, t)),
  exp_range: (p, t) => p.gamma ** t * between(p.base_lr, p.max_lr, swing(p, t)),
  exp_range_amplitude: (p, t) => between(p.base_lr, p.max_lr, swing(p, t) * p.gamma ** t),
  exp_range_cycle: (p, t) => between(p.base_lr, p.max_lr, swing(p, t) * p.gamma ** cycle(p, t)),
  one_cycle: (p, t) => t <= p.stepsize ? between(p.base_lr, p.max_lr, t / p.stepsize)
    : t < 2 * p.stepsize ? p.max_lr * (2 * p.stepsize - t) / p.stepsize : p.base_lr / 1000,
};
