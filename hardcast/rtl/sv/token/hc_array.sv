// The array: C column slices, TR x C tiles with their ROMs, broadcast and gather.
//
// step (from the sequencer) at cycle t; the TR sums of row slot n of a unit whose first step is at t
// are on `sums` at cycle t + n + ARRAY_LATENCY, C slices added.
module hc_array
  import hardcast_pkg::*;
(
  input  logic                             clk,
  input  logic                             rst_n,
  input  logic                             valid,
  input  logic                             first,
  input  logic                             half,
  input  logic                             last,
  input  logic                             wide,
  input  logic                             low,
  input  logic [3:0]                       add_shift,
  input  logic [CB_AW-1:0]                 codebook,
  input  logic [SLICE_AW-1:0]              slice_addr,
  input  logic [ROM_AW-1:0]                rom_addr,
  // blocks that the quantiser finished
  input  logic [U-1:0][C-1:0]              block_we,
  input  logic [U-1:0][C-1:0][SLICE_AW-1:0] block_addr,
  input  logic [U-1:0][C-1:0][64*XW-1:0]   block_codes,
  input  logic [U-1:0][C-1:0][4:0]         block_exp,
  output logic [U-1:0][TR-1:0][ACC_W-1:0]  sums
);
  // Control down the columns, in step with the activations; the ROM address a cycle before.
  logic                valid_2, first_2, half_2, last_2, valid_1;
  logic [CB_AW-1:0]    codebook_2;
  logic [ROM_AW-1:0]   rom_addr_1;
  hc_delay #(.W(1), .N(LB + 1), .RESET(1)) u_valid_1 (.clk, .rst_n, .d(valid), .q(valid_1));
  hc_delay #(.W(ROM_AW), .N(LB + 1)) u_rom_addr (.clk, .rst_n, .d(rom_addr), .q(rom_addr_1));
  hc_delay #(.W(1), .N(LB + 2), .RESET(1)) u_valid_2 (.clk, .rst_n, .d(valid), .q(valid_2));
  hc_delay #(.W(3 + CB_AW), .N(LB + 2)) u_ctl_2 (
    .clk, .rst_n, .d({first, half, last, codebook}), .q({first_2, half_2, last_2, codebook_2})
  );

  logic [C-1:0][U-1:0][K*8-1:0]      x;
  logic [C-1:0][U-1:0][5:0]          shift;
  logic [C-1:0][U-1:0][G*XSUM_W-1:0] xsum;
  for (genvar c = 0; c < C; c++) begin : g_col
    logic [U-1:0]                    we;
    logic [U-1:0][SLICE_AW-1:0]      waddr;
    logic [U-1:0][64*XW-1:0]         wcodes;
    logic [U-1:0][4:0]               wexp;
    logic [U-1:0][K*8-1:0]           x_0;
    logic [U-1:0][5:0]               shift_0;
    logic [U-1:0][G*XSUM_W-1:0]      xsum_0;
    for (genvar u = 0; u < U; u++) begin : g_user
      assign we[u]     = block_we[u][c];
      assign waddr[u]  = block_addr[u][c];
      assign wcodes[u] = block_codes[u][c];
      assign wexp[u]   = block_exp[u][c];
    end
    hc_slice u_slice (
      .clk, .we, .waddr, .wcodes, .wexp, .valid, .first, .half, .wide, .low, .add_shift,
      .raddr(slice_addr), .x(x_0), .shift(shift_0), .xsum(xsum_0)
    );
    hc_delay #(.W(U * (K * 8 + 6 + G * XSUM_W)), .N(LB)) u_bcast (
      .clk, .rst_n, .d({x_0, shift_0, xsum_0}), .q({x[c], shift[c], xsum[c]})
    );
  end

  logic [TR-1:0][U-1:0][C-1:0][ACC_W-1:0] part;
  logic sum_valid;
  hc_delay #(.W(1), .N(R + LB + 7), .RESET(1)) u_sum_valid (.clk, .rst_n, .d(valid), .q(sum_valid));

  for (genvar r = 0; r < TR; r++) begin : g_row
    for (genvar c = 0; c < C; c++) begin : g_tile
      logic [ROM_W-1:0]        word;
      logic [U-1:0][ACC_W-1:0] y;
`ifdef SYNTHESIS
      hc_rom #(
        .W(ROM_W), .D(ROM_D), .FILE($sformatf("tile_%0d_%0d.mem", r, c))
      ) u_rom (.clk, .en(valid_1), .addr(rom_addr_1), .word);
`else
      // Without FILE, so that all tiles are one module: a simulator compiles it once.
      hc_rom #(.W(ROM_W), .D(ROM_D)) u_rom (.clk, .en(valid_1), .addr(rom_addr_1), .word);
      string folder, file;
      initial begin
        if (!$value$plusargs("hc_rom=%s", folder)) folder = ROM_FOLDER;
        $sformat(file, "%s/tile_%0d_%0d.mem", folder, r, c);
        $readmemh(file, u_rom.mem);
      end
`endif
      hc_tile u_tile (
        .clk, .rst_n, .valid(valid_2), .first(first_2), .half(half_2), .last(last_2),
        .codebook(codebook_2), .word, .x(x[c]), .shift(shift[c]), .xsum(xsum[c]), .y
      );
      for (genvar u = 0; u < U; u++) begin : g_part
        assign part[r][u][c] = y[u];
      end
    end
    for (genvar u = 0; u < U; u++) begin : g_user
      logic [ACC_W-1:0] total;
      hc_sum #(.N(C), .W(ACC_W), .RADIX(2)) u_tree (.clk, .en(sum_valid), .d(part[r][u]), .q(total));
      hc_delay #(.W(ACC_W), .N(LT)) u_gather (.clk, .rst_n, .d(total), .q(sums[u][r]));
    end
  end

`ifndef SYNTHESIS
  // A sweep reads what stands still.
  always_ff @(posedge clk)
    if (rst_n) assert (!(valid && block_we != '0)) else $error("a slice is written while it is swept");
`endif
endmodule
