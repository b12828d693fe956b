// Slice buffer of one column of tiles: the activation blocks c, c + C, c + 2C ... of U users.
//
// A write stores a whole block: 64 codes and their exponent. A sweep reads a block at the first step
// of a unit and hands out K codes a cycle. Codes wider than 8 bits are swept twice: high part
// (code >> 7, signed) and low part (the 7 bits below).
// Latency 2: step at cycle t, x at t + 2; xsum and shift with the unit's last step, at t + 2 too.
module hc_slice
  import hardcast_pkg::*;
(
  input  logic                        clk,
  input  logic [U-1:0]                we,
  input  logic [U-1:0][SLICE_AW-1:0]  waddr,
  input  logic [U-1:0][64*XW-1:0]     wcodes,
  input  logic [U-1:0][4:0]           wexp,
  input  logic                        valid,
  input  logic                        first,
  input  logic                        half,
  input  logic                        wide,
  input  logic                        low,
  input  logic [3:0]                  add_shift,
  input  logic [SLICE_AW-1:0]         raddr,
  output logic [U-1:0][K*8-1:0]       x,
  output logic [U-1:0][5:0]           shift,
  output logic [U-1:0][G*XSUM_W-1:0]  xsum
);
  /*verilator no_inline_module*/
  logic       valid_1, first_1, half_1, wide_1, low_1;
  logic [3:0] add_1;
  always_ff @(posedge clk) begin
    valid_1 <= valid;
    first_1 <= first;
    half_1  <= half;
    wide_1  <= wide;
    low_1   <= low;
    add_1   <= add_shift;
  end

  for (genvar u = 0; u < U; u++) begin : g_user
    logic [64*XW+4:0] block;
    hc_ram #(.W(64 * XW + 5), .D(SLICE_D)) u_ram (
      .clk, .we(we[u]), .waddr(waddr[u]), .wdata({wexp[u], wcodes[u]}),
      .re(valid && first), .raddr(raddr), .rdata(block)
    );

    logic [511:0] bytes, rest;
    if (XW == 8) begin : g_narrow
      assign bytes = block[511:0];
    end else begin : g_wide
      always_comb
        for (int i = 0; i < 64; i++)
          bytes[i*8 +: 8] = (wide_1 && !low_1) ? block[i*XW+7 +: 8]
                          : wide_1 ? {1'b0, block[i*XW +: 7]} : block[i*XW +: 8];
    end

    logic signed [XSUM_W-1:0] sum, held;
    always_ff @(posedge clk) begin
      if (valid_1) begin
        automatic logic [511:0] now = first_1 ? bytes : rest;
        automatic logic signed [XSUM_W-1:0] s = first_1 ? '0 : sum;
        for (int k = 0; k < K; k++) s += XSUM_W'($signed(now[k*8 +: 8]));
        x[u] <= now[K*8-1:0];
        rest <= now >> (K * 8);
        if (first_1) shift[u] <= 6'(block[64*XW +: 5]) + 6'(add_1);
        sum <= (G > 1 && half_1) ? '0 : s;
        if (G > 1 && half_1) held <= s;
        xsum[u] <= (G * XSUM_W)'(G > 1 ? {s, held} : (2*XSUM_W)'(s));
      end
    end
    logic unused;
    assign unused = &{1'b0, wide_1, low_1, held};
  end
endmodule
