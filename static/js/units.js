// Numbers on an axis, in the words of dbadmin/units.py: at most three significant digits and a unit.
(() => {
  const three = (number) => Number(number.toPrecision(3)).toString();
  const scaled = (value, base, names) => {
    let step = 0;
    for (; Math.abs(value) >= base * 0.9995 && step < names.length - 1; step += 1) value /= base;
    return `${three(value)} ${names[step]}`.trim();
  };
  const bytes = (value) => scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]);
  const time = (seconds) => {
    if (seconds !== 0 && Math.abs(seconds) < 1) return `${three(seconds * 1000)} ms`;
    const [size, name] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]].find(([length]) => Math.abs(seconds) >= length) || [1, "s"];
    return `${three(seconds / size)} ${name}`;
  };
  const units = {
    bytes, bytes_total: bytes, bytes_per_second: (v) => `${bytes(v)}/s`, seconds: time, seconds_total: time,
    ratio: (v) => `${three(v * 100)} %`, per_second: (v) => `${scaled(v, 1000, ["", "k", "M", "G"])}/s`,
  };
  const plain = (v) => scaled(v, 1000, ["", "k", "M", "G"]);
  window.dbadminUnits = (name) => units[name] || plain;

  // The data of a chart: moments are steps from the first; a line that has none has those of the line before.
  window.dbadminChart = (text) => {
    const data = JSON.parse(text);
    let moments = [];
    data.lines.forEach((line) => {
      if (line.steps) {
        moments = [line.first];
        line.steps.forEach(([distance, count]) => { for (let n = 0; n < count; n += 1) moments.push(moments[moments.length - 1] + distance); });
      }
      line.points = line.values.map((value, n) => [moments[n], value]);
    });
    return data;
  };
})();
