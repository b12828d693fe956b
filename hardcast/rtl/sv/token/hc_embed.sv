// The embedding: a row of the token's, TR values a cycle, at the residual's binary point:
//     x = saturate32(rescale((scale * value + offset) * M, row_shift - F))
// Codes, group scales and row multipliers each have a ROM. The token of a user must be in range (the
// host port refuses others). Latency EMBED_LATENCY from `valid` to x.
module hc_embed
  import hardcast_pkg::*;
(
  input  logic                 clk,
  input  logic                 rst_n,
  input  logic                 valid,
  input  logic [TOKEN_W-1:0]   token,
  input  logic [XWORD_AW-1:0]  index,       // word of the row
  output logic                 out_valid,
  output logic [TR-1:0][31:0]  x
);
  localparam int GPW = (TR > EMB_GROUP) ? TR / EMB_GROUP : 1;  // groups a word
  logic [EMB_AW-1:0]  code_addr;
  logic [EMBS_AW-1:0] scale_addr;
  assign code_addr  = EMB_AW'(token * EMB_AW'(XWORDS)) + EMB_AW'(index);
  assign scale_addr = EMBS_AW'(token * EMBS_AW'(EMB_SCALES))
                    + EMBS_AW'(TR > EMB_GROUP ? 32'(index) : 32'(index) / (EMB_GROUP / (TR > EMB_GROUP ? EMB_GROUP : TR)));

  logic [TR*EMB_BITS-1:0] codes;
  logic [GPW*EMBS_W-1:0]  scales;
  logic [ROWROM_W-1:0]    row, row_2;
  hc_rom #(.W(TR * EMB_BITS), .D(EMB_D), .FILE("embed_codes.mem")) u_codes (
    .clk, .en(valid), .addr(code_addr), .word(codes)
  );
  hc_rom #(.W(GPW * EMBS_W), .D(EMBS_D), .FILE("embed_scales.mem")) u_scales (
    .clk, .en(valid), .addr(scale_addr), .word(scales)
  );
  hc_rom #(.W(ROWROM_W), .D(VOCAB), .FILE("embed_rows.mem")) u_rows (
    .clk, .en(valid), .addr(token), .word(row)
  );

  logic valid_1, valid_2, valid_3, valid_4;
  logic signed [7:0] k_3;
  // lanes beyond hidden_size hold 0, whatever the ROM's padding
  logic [XWORD_AW-1:0] index_4;
  logic [TR-1:0] inside_4;
  hc_delay #(.W(XWORD_AW), .N(4)) u_index (.clk, .rst_n, .d(index), .q(index_4));
  always_comb for (int i = 0; i < TR; i++) inside_4[i] = 32'(index_4) * TR + i < HIDDEN;
  always_ff @(posedge clk) begin
    {valid_4, valid_3, valid_2, valid_1} <= rst_n ? {valid_3, valid_2, valid_1, valid} : '0;
    out_valid <= valid_4 && rst_n;
    if (valid_1) row_2 <= row;
    if (valid_2) k_3 <= 8'($signed(row_2[14:8])) - 8'(POINT_RESIDUAL);
  end
  for (genvar i = 0; i < TR; i++) begin : g_lane
    localparam int GI = (TR > EMB_GROUP) ? i / EMB_GROUP : 0;
    logic signed [17:0] value_2;
    logic signed [26:0] product_3;
    logic signed [63:0] w_4;
    always_ff @(posedge clk) begin
      if (valid_1) begin
        automatic logic [EMB_BITS-1:0] code = codes[i*EMB_BITS +: EMB_BITS];
        automatic logic signed [8:0] value = EMB_PLANES == 1
            ? 9'(CODEBOOK[{CB_AW'(EMB_CB), B'(code)}])
            : (9'(CODEBOOK[{CB_AW'(EMB_CB), B'(code >> (EMB_BITS / 2))}]) <<< (EMB_BITS / 2))
              + 9'(code & EMB_BITS'((1 << (EMB_BITS / 2)) - 1));
        value_2 <= 18'(value) * 18'($signed({1'b0, scales[GI*EMBS_W +: 8]}))
                 + 18'(offset(scales[GI*EMBS_W +: EMBS_W]));
      end
      if (valid_2) product_3 <= 27'(value_2) * 27'($signed({1'b0, row_2[7:0]}));
      if (valid_3) w_4 <= k_3 > 0 ? 64'(product_3) >>> (k_3 - 8'sd1) : 64'(product_3) <<< (8'sd1 - k_3);
      if (valid_4) begin
        automatic logic signed [63:0] z = (w_4 + 64'sd1) >>> 1;
        x[i] <= !inside_4[i] ? '0 : z > 64'sd2147483647 ? 32'h7fffffff : z < -64'sd2147483648 ? 32'h80000000 : z[31:0];
      end
    end
  end
  // The offset above a group's scale; 0 where the ROM has none.
  function automatic logic signed [15:0] offset(input logic [EMBS_W-1:0] entry);
    return EMBS_W > 8 ? 16'(entry >> 8) : 16'sd0;
  endfunction

endmodule
