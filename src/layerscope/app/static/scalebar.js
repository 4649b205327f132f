// The scale bar: the nearest length of 1, 2 or 5 times a power of ten.

const UNITS = [[1e6, "mm"], [1e3, "µm"], [1, "nm"], [1e-3, "pm"]];

/** Length as text, with the unit that keeps the number short. */
export function lengthText(nm) {
  const [factor, unit] = UNITS.find(([f]) => nm >= f) ?? UNITS.at(-1);
  return `${Number((nm / factor).toPrecision(3))} ${unit}`;
}

/** {nm, px} of a bar that is about as long as wanted. */
export function roundLength(wantedPx, nmPerPx) {
  const wanted = wantedPx * nmPerPx;
  const decade = 10 ** Math.floor(Math.log10(wanted));
  const nm = [1, 2, 5, 10].map((s) => s * decade).reduce((a, b) =>
    Math.abs(Math.log(b / wanted)) < Math.abs(Math.log(a / wanted)) ? b : a);
  return { nm, px: nm / nmPerPx };
}
