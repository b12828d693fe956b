// Rotates pairs of TR lanes: a word of first halves (a), then one of second halves (b):
//     a' = rs(a c - b s, SHIFT);  b' = rs(a s + b c, SHIFT)
// The same product joins the two levels of the sin/cos ROM, with a word c of cosines and one of sines.
// Latency 3, throughput 1 word (a pair every two).
module hc_rope #(
  parameter int TR = 1,
  parameter int META = 1
) (
  input  logic                 clk,
  input  logic                 rst_n,
  input  logic                 in_valid,
  input  logic                 in_second,  // b; a came the cycle before
  input  logic [4:0]           shift,
  input  logic [META-1:0]      in_meta,
  input  logic [TR-1:0][31:0]  in_word,
  input  logic [TR-1:0][31:0]  in_angle,   // {sin, cos}, valid with a and with b
  output logic                 out_valid,
  output logic                 out_second,
  output logic [META-1:0]      out_meta,
  output logic [TR-1:0][34:0]  out_word
);
  logic valid_1, second_1, valid_2, second_2;
  logic [META-1:0] meta_1, meta_2;
  logic [TR-1:0][31:0] word_1, word_2, angle_1;
  logic [TR-1:0][47:0] p_2, q_2;
  always_ff @(posedge clk) begin
    valid_1 <= in_valid && rst_n;
    valid_2 <= valid_1 && rst_n;
    out_valid <= valid_2 && rst_n;
    {second_1, meta_1} <= {in_second, in_meta};
    {second_2, meta_2} <= {second_1, meta_1};
    {out_second, out_meta} <= {second_2, meta_2};
    if (in_valid) begin
      word_1  <= in_word;
      angle_1 <= in_angle;
    end
    if (valid_1) begin
      word_2 <= word_1;
      for (int i = 0; i < TR; i++) begin
        automatic logic signed [31:0] a = second_1 ? $signed(word_2[i]) : $signed(word_1[i]);
        automatic logic signed [31:0] b = second_1 ? $signed(word_1[i]) : $signed(in_word[i]);
        automatic logic signed [15:0] c = $signed(angle_1[i][15:0]);
        automatic logic signed [15:0] s = $signed(angle_1[i][31:16]);
        p_2[i] <= second_1 ? 48'(a) * 48'(s) : 48'(a) * 48'(c);
        q_2[i] <= second_1 ? 48'(b) * 48'(c) : -(48'(b) * 48'(s));
      end
    end
    if (valid_2)
      for (int i = 0; i < TR; i++) begin
        automatic logic signed [48:0] t = 49'($signed(p_2[i])) + 49'($signed(q_2[i]));
        automatic logic signed [48:0] h = t >>> (shift - 5'd1);
        out_word[i] <= 35'((h + 49'sd1) >>> 1);
      end
  end
endmodule
