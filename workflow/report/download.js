// The numbers in a figure, one click away: #figure-data holds them, compressed, by the name of their file.
"use strict";

{
  const packed = JSON.parse(document.getElementById("figure-data").textContent);
  for (const button of document.querySelectorAll("button[data-csv]")) {
    button.hidden = !packed[button.dataset.csv] || !window.DecompressionStream;
    button.addEventListener("click", async () => {
      const bytes = Uint8Array.from(atob(packed[button.dataset.csv]), (c) => c.charCodeAt(0));
      const text = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await new Response(text, { headers: { "Content-Type": "text/csv" } }).blob());
      link.download = button.dataset.csv;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  }
}
