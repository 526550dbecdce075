"use strict";

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const spaced = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  const color = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();

  const percent = (share) => {
    if (share > 0 && share < 0.0005) return "< 0.1\u202f%";
    return `${(100 * share).toFixed(1)}\u202f%`;
  };

  // Plotly reads some HTML in its texts
  const escaped = (text) =>
    text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  // --- The confusion matrix -----------------------------------------------------------------------

  const matrix = document.getElementById("matrix");
  const readout = document.getElementById("readout");
  const select = document.getElementById("matrix-classes");
  const { counts, totals, names, labels } = data.matrix;
  const classes = counts.length;
  const largest = Math.max(1, ...counts.flat());
  const font = getComputedStyle(document.body).fontFamily;
  const hint = document.getElementById("zoom-hint");
  let shown = null; // the classes that are rows and columns now
  let cell = null; // the row and column that the keyboard is at

  const share = (row, column) => (totals[row] ? counts[row][column] / totals[row] : 0);

  const sentence = (row, column) => {
    const numbers = `${spaced(counts[row][column])} px, ${percent(share(row, column))}`;
    if (row === column) return `target ${names[row]} found: ${numbers}`;
    if (column === classes) return `target ${names[row]} abstained from: ${numbers}`;
    return `target ${names[row]} taken for ${names[column]}: ${numbers}`;
  };

  const inUnit = () => document.querySelector("input[name=unit]:checked").value;

  // Square roots and logarithms, as the few wrong pixels would be invisible next to the right ones.
  const shade = (row, column) => {
    const strength =
      inUnit() === "share"
        ? Math.sqrt(share(row, column))
        : Math.log1p(counts[row][column]) / Math.log1p(largest);
    return row === column ? strength : -strength;
  };

  const short = (count) => {
    if (count < 1000) return count ? String(count) : "";
    const power = Math.floor(Math.log10(count) / 3);
    const scaled = count / 1000 ** power;
    return `${scaled.toFixed(scaled < 9.95 ? 1 : 0)}${"kMGTPE"[power - 1]}`;
  };

  const written = (row, column) => {
    if (inUnit() === "counts") return short(counts[row][column]);
    const hundredths = Math.round(100 * share(row, column));
    return hundredths ? String(hundredths) : "";
  };

  // of many classes those with the most pixels that are wrong
  const shownClasses = () => {
    const all = [...Array(classes).keys()];
    const wanted = Number(select.value);
    if (wanted >= classes) return all;
    const wrong = all.map(
      (c) =>
        totals[c] - 2 * counts[c][c] + counts.reduce((sum, row) => sum + row[c], 0),
    );
    const kept = all.sort((a, b) => wrong[b] - wrong[a]).slice(0, wanted);
    return kept.sort((a, b) => a - b);
  };

  const drawMatrix = () => {
    const width = matrix.clientWidth;
    const narrow = width < 600;
    const rows = shownClasses();
    const columns = names.length > classes ? [...rows, classes] : rows;
    const size = narrow ? 9 : columns.length > 30 ? 10 : 12;
    const longest = Math.max(...columns.map((c) => labels[c].length));
    const margin = Math.ceil(longest * size * 0.58) + 38;
    const side = narrow ? 4 : 96;
    const room = (width - margin - side) / columns.length;
    const unit = Math.max(1, Math.min(room, 64));
    const numbers = unit >= 26;
    const cells = (function_) => rows.map((row) => columns.map((column) => function_(row, column)));
    const axis = {
      type: "category",
      automargin: false,
      showgrid: false,
      zeroline: false,
      ticks: "outside", // which are not seen, but keep the names off the cells
      ticklen: 4,
      tickcolor: "transparent",
      tickfont: { size },
      fixedrange: columns.length <= 40 || matchMedia("(pointer: coarse)").matches,
    };
    const inShares = inUnit() === "share";
    const steps = inShares ? [1, 0.5, 0.25, 0.1, 0.01] : [1, 0.75, 0.5, 0.25];
    const at = inShares ? steps.map(Math.sqrt) : steps;
    const named = inShares
      ? steps.map((step) => `${100 * step}\u202f%`)
      : steps.map((step) => short(Math.round(Math.expm1(step * Math.log1p(largest)))));
    const trace = {
      type: "heatmap",
      x: columns.map((c) => escaped(labels[c])),
      y: rows.map((c) => escaped(labels[c])),
      z: cells(shade),
      text: numbers ? cells(written) : undefined,
      texttemplate: numbers ? "%{text}" : undefined,
      textfont: { size: 11 },
      hovertext: cells((row, column) => escaped(sentence(row, column)).replace(": ", ":<br>")),
      hoverinfo: "text",
      zmin: -1,
      zmax: 1,
      xgap: unit > 12 ? 1 : 0,
      ygap: unit > 12 ? 1 : 0,
      colorscale: [
        [0, color("cell-wrong")],
        [0.5, color("surface")],
        [1, color("cell-right")],
      ],
      showscale: !narrow,
      colorbar: {
        thickness: 10,
        outlinewidth: 0,
        len: 1,
        x: 1,
        xpad: 12,
        tickvals: [...at, 0, ...at.map((value) => -value)],
        ticktext: [...named, "0", ...named],
        tickfont: { size: 11 },
      },
    };
    const layout = {
      width: Math.floor(margin + unit * columns.length + side),
      height: Math.ceil(margin + unit * rows.length + 8),
      margin: { l: margin, r: side, t: margin, b: 8 },
      paper_bgcolor: "transparent",
      plot_bgcolor: color("page"),
      font: { family: font, color: color("ink"), size: 12 },
      hoverlabel: {
        bgcolor: color("page"),
        bordercolor: color("muted"),
        font: { family: font, color: color("ink"), size: 13 },
        align: "left",
      },
      xaxis: {
        ...axis,
        side: "top",
        tickangle: -90,
        title: { text: "prediction", standoff: 4, font: { size: 12, color: color("muted") } },
      },
      yaxis: {
        ...axis,
        autorange: "reversed",
        title: { text: "target", standoff: 4, font: { size: 12, color: color("muted") } },
      },
      dragmode: axis.fixedrange ? false : "zoom",
      uirevision: select.value, // stays zoomed when colours change
      shapes: cell && [
        {
          type: "rect",
          x0: cell[1] - 0.5,
          x1: cell[1] + 0.5,
          y0: cell[0] - 0.5,
          y1: cell[0] + 0.5,
          line: { color: color("ink"), width: 2 },
        },
      ],
    };
    shown = { rows, columns };
    hint.hidden = axis.fixedrange;
    Plotly.react(matrix, [trace], layout, { displayModeBar: false });
  };

  const readOut = ([row, column]) => {
    const { rows, columns } = shown;
    readout.textContent = sentence(rows[row], columns[column]);
  };

  const steps = {
    ArrowUp: [-1, 0],
    ArrowDown: [1, 0],
    ArrowLeft: [0, -1],
    ArrowRight: [0, 1],
  };
  matrix.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const { rows, columns } = shown;
    const within = (place, length) => Math.min(Math.max(place, 0), length - 1);
    cell = cell
      ? [within(cell[0] + step[0], rows.length), within(cell[1] + step[1], columns.length)]
      : [0, 0];
    drawMatrix();
    readOut(cell);
  });
  matrix.addEventListener("blur", () => {
    if (!cell) return;
    cell = null;
    drawMatrix();
  });

  const narrowPage = root.clientWidth < 600;
  for (const number of [...[20, 40].filter((some) => some < classes), classes]) {
    const label = number < classes ? `the ${number} most confused classes` : `all ${number} classes`;
    select.add(new Option(label, number, false, number === classes));
  }
  if (narrowPage && classes > 20) select.value = 20;
  select.parentNode.hidden = select.length === 1;
  for (const input of document.querySelectorAll("input[name=unit], #matrix-classes")) {
    input.addEventListener("change", () => {
      cell = null;
      drawMatrix();
    });
  }

  // --- The distribution over images ---------------------------------------------------------------

  const histogram = document.getElementById("histogram");

  const drawHistogram = () => {
    if (!histogram) return;
    const { edges, bins, mean } = data.histogram;
    const trace = {
      type: "bar",
      x: bins.map((_, i) => (edges[i] + edges[i + 1]) / 2),
      y: bins,
      width: bins.map((_, i) => 0.94 * (edges[i + 1] - edges[i])),
      hovertext: bins.map(
        (number, i) =>
          `mIoU ${edges[i]} to ${edges[i + 1]}:<br>${spaced(number)} ${number === 1 ? "image" : "images"}`,
      ),
      hoverinfo: "text",
      marker: { color: color("cell-right"), line: { width: 0 } },
    };
    const axis = { fixedrange: true, zeroline: false, automargin: true, linecolor: color("muted") };
    const line = mean !== null && {
      type: "line",
      x0: mean,
      x1: mean,
      y0: 0,
      y1: 1,
      yref: "paper",
      line: { color: color("wrong"), width: 2, dash: "dash" },
    };
    const note = mean !== null && {
      x: mean,
      y: 1,
      yref: "paper",
      yanchor: "bottom",
      text: `mean ${mean.toFixed(3)}`,
      showarrow: false,
      font: { color: color("wrong"), size: 12 },
    };
    Plotly.react(
      histogram,
      [trace],
      {
        width: histogram.clientWidth,
        height: histogram.clientHeight,
        margin: { l: 44, r: 8, t: 24, b: 40 },
        paper_bgcolor: "transparent",
        plot_bgcolor: "transparent",
        font: { family: font, color: color("ink"), size: 12 },
        hoverlabel: {
          bgcolor: color("page"),
          bordercolor: color("muted"),
          font: { family: font, color: color("ink"), size: 13 },
        },
        xaxis: { ...axis, range: [0, 1], showgrid: false, title: { text: "mIoU of an image" } },
        yaxis: { ...axis, gridcolor: color("line"), title: { text: "images" } },
        shapes: line ? [line] : [],
        annotations: note ? [note] : [],
        dragmode: false,
        bargap: 0,
      },
      { displayModeBar: false },
    );
  };

  // Colours follow the theme and the paper, sizes the window.
  const draw = () => {
    drawMatrix();
    drawHistogram();
  };
  draw();
  for (const event of ["plotly_hover", "plotly_click"]) {
    matrix.on(event, ({ points: [point] }) => readOut(point.pointNumber));
  }
  for (const query of ["(prefers-color-scheme: dark)", "print"]) {
    matchMedia(query).addEventListener("change", draw);
  }
  let width = matrix.clientWidth;
  new ResizeObserver(() => {
    if (matrix.clientWidth === width) return;
    width = matrix.clientWidth;
    requestAnimationFrame(draw);
  }).observe(matrix);
})();
