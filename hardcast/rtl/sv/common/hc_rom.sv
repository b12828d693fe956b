// Mask ROM, one word a cycle: word is the content of addr of the cycle before.
// Behavioural; a layout replaces it by a macro. Contents come from FILE in the package's
// ROM_FOLDER, or from whoever names `mem` (in simulation the array loads its tiles' words); a
// simulation looks in the folder of +hc_rom=FOLDER first.
module hc_rom #(
  parameter int W = 8,
  parameter int D = 1,
  parameter FILE = "",
  parameter int AW = (D > 1) ? $clog2(D) : 1
) (
  input  logic          clk,
  input  logic          en,
  input  logic [AW-1:0] addr,
  output logic [W-1:0]  word
);
  logic [W-1:0] mem[D]  /*verilator public_flat_rw*/;
  if (FILE != "") begin : g_file
`ifdef SYNTHESIS
    initial $readmemh({hardcast_pkg::ROM_FOLDER, "/", FILE}, mem);
`else
    string folder, file;
    initial begin
      if (!$value$plusargs("hc_rom=%s", folder)) folder = hardcast_pkg::ROM_FOLDER;
      $sformat(file, "%s/%s", folder, FILE);
      $readmemh(file, mem);
    end
`endif
  end
  always_ff @(posedge clk) if (en) word <= mem[addr];
endmodule
