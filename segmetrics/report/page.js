"use strict";

(() => {
  const spaced = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");

  // --- Tables: sorted, filtered, and cut after so many rows ---------------------------------------

  for (const table of document.querySelectorAll("table")) {
    const body = table.tBodies[0];
    let rows = [...body.rows];
    let limit = Number(table.dataset.limit) || Infinity;
    const search = document.querySelector(`input[data-table="${table.id}"]`);
    const status = document.querySelector(`[data-status="${table.id}"]`);
    const more = document.querySelector(`[data-more="${table.id}"]`);
    const text = new Map(
      rows.map((row) => [row, (row.dataset.search ?? row.cells[0].textContent).toLowerCase()]),
    );

    const show = () => {
      const wanted = search ? search.value.trim().toLowerCase() : "";
      const found = wanted ? rows.filter((row) => text.get(row).includes(wanted)) : rows;
      const shown = found.slice(0, limit);
      for (const row of shown) row.hidden = false;
      body.replaceChildren(...shown);
      if (more) more.hidden = shown.length === found.length;
      if (status) {
        const of = wanted || shown.length < rows.length;
        status.textContent =
          (of ? `${spaced(shown.length)} of ` : "") +
          `${spaced(rows.length)} ${table.dataset.unit}`;
      }
    };

    const value = (row, column) => {
      const cell = row.cells[column];
      if (cell.dataset.value === undefined) return cell.textContent.trim();
      return cell.dataset.value === "" ? null : Number(cell.dataset.value);
    };

    const sort = (header) => {
      const directions = ["descending", "ascending"];
      if (header.className === "text") directions.reverse();
      const order = directions[Number(header.getAttribute("aria-sort") === directions[0])];
      for (const other of header.parentNode.cells) {
        if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
      }
      header.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const keyed = rows.map((row) => [value(row, header.cellIndex), row]);
      keyed.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null); // no score comes last
        return sign * (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
      });
      rows = keyed.map(([, row]) => row);
      show();
    };

    for (const button of table.querySelectorAll("thead button")) {
      button.addEventListener("click", () => sort(button.parentNode));
    }
    search?.addEventListener("input", show);
    more?.addEventListener("click", () => {
      limit += 100;
      show();
    });
    show();
  }

  // --- Pictures, enlarged -------------------------------------------------------------------------

  const dialog = document.getElementById("enlarged");
  if (dialog) {
    let panels = [];
    let place = 0;
    const enlarge = (next) => {
      place = (next + panels.length) % panels.length;
      const from = panels[place].querySelector("img");
      const to = dialog.querySelector("img");
      to.src = from.src;
      to.alt = dialog.querySelector("p").textContent = from.alt;
      to.className = from.className;
    };
    for (const button of document.querySelectorAll("figure button")) {
      button.addEventListener("click", () => {
        const figure = button.closest("figure");
        panels = [...figure.parentNode.children];
        enlarge(panels.indexOf(figure));
        dialog.showModal();
      });
    }
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowRight") enlarge(place + 1);
      if (event.key === "ArrowLeft") enlarge(place - 1);
    });
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
  }
})();
