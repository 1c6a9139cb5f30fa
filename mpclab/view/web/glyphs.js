// One shape for each thing that a party does; no meaning hangs on colour alone.

const GLYPHS = {
  proposed: "diamond", approved: "tick", rejected: "cross", certified: "ring", committed: "disc",
  decided: "disc", aborted: "block", expired: "sand", executed: "dot", failed: "block",
  "became-leader": "star", "entered-view": "bar", "stepped-down": "bar", voters: "ring",
  blocked: "square", blamed: "flag", acted: "wedge",
};

const SHAPES = { // corners, in radii
  diamond: [[0, -1.3], [1, 0], [0, 1.3], [-1, 0]],
  square: [[-0.8, -0.8], [0.8, -0.8], [0.8, 0.8], [-0.8, 0.8]],
  block: [[-1, -0.45], [1, -0.45], [1, 0.45], [-1, 0.45]],
  wedge: [[-1, -0.8], [1, -0.8], [0, 0.9]],
  sand: [[-1, -1], [1, -1], [-1, 1], [1, 1]],
  star: Array.from({ length: 10 }, (_, k) => {
    const angle = -Math.PI / 2 + (k * Math.PI) / 5, r = k % 2 ? 0.55 : 1.35;
    return [r * Math.cos(angle), r * Math.sin(angle)];
  }),
};

const STROKES = { // lines, in radii
  tick: [[[-0.6, 0], [-0.1, 0.5], [0.65, -0.6]]],
  cross: [[[-0.5, -0.5], [0.5, 0.5]], [[-0.5, 0.5], [0.5, -0.5]]],
  bar: [[[0, -1], [0, 1]]],
  flag: [[[0, 1], [0, -1.4], [1.3, -0.7], [0, 0]]],
};

function drawGlyph(c, shape, x, y, r, colour, paper) {
  c.fillStyle = c.strokeStyle = colour;
  c.lineWidth = 1.8;
  if (shape === "disc" || shape === "dot" || shape === "ring") {
    c.beginPath();
    c.arc(x, y, shape === "dot" ? r * 0.5 : shape === "ring" ? r * 0.8 : r, 0, 7);
    if (shape === "ring") { c.fillStyle = paper; c.fill(); c.stroke(); } else { c.fill(); outline(c, paper); }
    return;
  }
  if (STROKES[shape]) {
    if (shape !== "bar" && shape !== "flag") { // on a coin, so that a line behind does not cross it
      c.fillStyle = paper;
      c.beginPath();
      c.arc(x, y, r, 0, 7);
      c.fill();
    }
    c.beginPath();
    for (const [first, ...rest] of STROKES[shape]) {
      c.moveTo(x + first[0] * r, y + first[1] * r);
      for (const [dx, dy] of rest) c.lineTo(x + dx * r, y + dy * r);
    }
    c.fillStyle = colour;
    if (shape === "flag") c.fill();
    c.stroke();
    return;
  }
  c.beginPath();
  for (const [dx, dy] of SHAPES[shape] ?? SHAPES.square) c.lineTo(x + dx * r, y + dy * r);
  c.closePath();
  c.fill();
  outline(c, paper);
}

function outline(c, paper) { c.strokeStyle = paper; c.lineWidth = 0.9; c.stroke(); }

// An arrow's head at (x1, y1).
function addHead(path, x0, y0, x1, y1) {
  const angle = Math.atan2(y1 - y0, x1 - x0);
  path.moveTo(x1, y1);
  path.lineTo(x1 - 8 * Math.cos(angle - 0.36), y1 - 8 * Math.sin(angle - 0.36));
  path.lineTo(x1 - 8 * Math.cos(angle + 0.36), y1 - 8 * Math.sin(angle + 0.36));
  path.closePath();
}

function drawLine(c, x0, y0, x1, y1) { c.beginPath(); c.moveTo(x0, y0); c.lineTo(x1, y1); c.stroke(); }
